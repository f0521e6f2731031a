"""MY615 to MY620: the files of PyTorch, OpenVINO and Python models."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard_build.repository.lint.artefacts import Artefact
from modelyard_build.repository.lint.artefacts.pytorch import AOT_INDUCTOR, TORCHSCRIPT
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import artefacts
from modelyard_build.repository.lint.subjects import Config

# The first release whose pytorch backend serves compiled archives.
_FIRST_AOTI = (26, 3)


@rule(
    "MY615",
    Severity.ERROR,
    summary="a file of PyTorch that is no TorchScript",
    mend="Save it with torch.jit.script(model).save(path), or torch.jit.trace.",
    verdict=Verdict.REFUSES,
)
def no_torchscript(config: Config) -> Findings:
    """The pytorch backend runs TorchScript; what torch.save() writes are weights or pickled Python, without the code.

    libtorch says `PytorchStreamReader failed locating file constants.pkl: file not found`.
    """
    for title, artefact in _pytorch(config, archive=False):
        kind = artefact.details["kind"]
        if kind != TORCHSCRIPT:
            yield Raised(
                f"{title} was written by {kind}, expected TorchScript; save it with torch.jit.script(model).save(path)",
                artefact.path,
            )


@rule(
    "MY616",
    Severity.ERROR,
    summary="a PT2 archive that is not compiled",
    mend="Compile it with torch._inductor.aoti_compile_and_package().",
    verdict=Verdict.REFUSES,
)
def archive_is_not_compiled(config: Config) -> Findings:
    """The pytorch backend runs what AOTInductor compiled; torch.export.save() writes the program alone.

    libtorch says `Failed to find a generated cpp file or so file for model 'model' in the zip archive`.
    """
    for title, artefact in _pytorch(config, archive=True):
        kind = artefact.details["kind"]
        if kind != AOT_INDUCTOR:
            yield Raised(
                f"{title} was written by {kind}, expected an archive that AOTInductor compiled; compile it with "
                "torch._inductor.aoti_compile_and_package()",
                artefact.path,
            )


@rule(
    "MY617",
    Severity.ERROR,
    summary="a PT2 archive for a release that does not serve them",
    mend="Serve Triton 26.03 or later, or serve TorchScript.",
    verdict=Verdict.UNSEEN,
)
def archive_before_its_release(config: Config) -> Findings:
    """Compiled archives (`platform: "torch_aoti"`) are served by the container of Triton 26.03 and later."""
    release = config.settings.release.name
    parts = tuple(int(part) for part in release.split(".") if part.isdecimal())
    if config.backend != "pytorch" or not _takes_archive(config) or not parts or parts >= _FIRST_AOTI:
        return
    field = "platform" if config.states("platform") else "default_model_filename"
    yield config.raised(
        f"{config.filename} is a PT2 archive, which Triton {release} does not serve, only 26.03 and later; serve a "
        "newer release, or TorchScript",
        field,
    )


@rule(
    "MY618",
    Severity.ERROR,
    summary="the weights of an OpenVINO model are missing or cut off",
    mend="Copy the .bin file beside the .xml, under the same name.",
    verdict=Verdict.REFUSES,
)
def openvino_weights_are_missing(config: Config) -> Findings:
    """An OpenVINO model is two files: model.xml with the graph, model.bin with the weights."""
    if config.backend != "openvino":
        return
    for title, artefact in artefacts(config):
        needed = artefact.details.get("weights_needed", 0)
        size = artefact.details.get("weights_size")
        if needed and (size is None or size < needed):
            name = artefact.path.with_suffix(".bin").name
            has = "is not there" if size is None else f"has {size} bytes, expected at least {needed}"
            yield Raised(f"{title} has its weights in {name}, which {has}; copy it again", artefact.path)


@rule(
    "MY619",
    Severity.ERROR,
    summary="model.py does not load",
    mend="Correct the line that is named.",
    verdict=Verdict.REFUSES,
)
def model_py_does_not_load(config: Config) -> Findings:
    """Triton imports model.py and makes an instance of its TritonPythonModel.

    It says `SyntaxError: invalid syntax (model.py, line 1)`, or
    `AttributeError: module '1.model' has no attribute 'TritonPythonModel'`.
    """
    for title, artefact in _python(config):
        for line, fault in artefact.details["faults"]:
            yield Raised(f"{title} line {line}: {fault}", artefact.path)


@rule(
    "MY620",
    Severity.ERROR,
    summary="a TritonPythonModel without execute",
    mend="Write execute(self, requests): it returns a response for each request.",
    verdict=Verdict.LOADS,
)
def model_py_without_execute(config: Config) -> Findings:
    """The model loads and is called ready, and every request to it fails."""
    for title, artefact in _python(config):
        line = artefact.details["without_execute"]
        if line:
            yield Raised(
                f"{title} line {line}: TritonPythonModel has no execute, so that every request fails; write "
                "execute(self, requests)",
                artefact.path,
            )


def _python(config: Config) -> Iterator[tuple[str, Artefact]]:
    if config.backend == "python":
        for title, artefact in artefacts(config):
            if not artefact.problem:
                yield title, artefact


def _pytorch(config: Config, *, archive: bool) -> Iterator[tuple[str, Artefact]]:
    if config.backend == "pytorch" and _takes_archive(config) == archive:
        for title, artefact in artefacts(config):
            if not artefact.problem:
                yield title, artefact


def _takes_archive(config: Config) -> bool:
    return config.message.platform == "torch_aoti" or config.filename.endswith(".pt2")
