"""MY60x to MY62x: what lies in a version's folder, against the release and the machine that will serve it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard_build.repository.lint.artefacts import Artefact
from modelyard_build.repository.lint.artefacts.artefact import NOT_A_FILE
from modelyard_build.repository.lint.artefacts.onnx import ExternalFile
from modelyard_build.repository.lint.artefacts.pytorch import AOT_INDUCTOR, TORCHSCRIPT
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import ENGINES, artefacts
from modelyard_build.repository.lint.subjects import Config, Model, Version
from modelyard_build.repository.tensorrt_lock import check_compute_capability, check_lock

# Operators that ONNX Runtime has itself, its own graph passes' included.
_OWN_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training")
_OWN_PREFIXES = ("com.microsoft", "com.ms.internal", "org.pytorch.aten")
_PLUGINS = "trt.plugins"
_COMPUTE_CAPABILITY = re.compile(r"[0-9]+\.[0-9]")
# The first release whose pytorch backend serves compiled archives.
_FIRST_AOTI = (26, 3)


@rule(
    "MY601",
    Severity.ERROR,
    summary="an artefact is cut off or is none",
    mend="Copy it again, or build the version again.",
    verdict=Verdict.REFUSES,
)
def artefact_is_broken(config: Config) -> Findings:
    """A copy that was interrupted, a page of HTML in place of a download, a Git LFS pointer.

    ONNX Runtime says `INVALID_PROTOBUF : Load model from … failed:Protobuf parsing failed`, libtorch
    `PytorchStreamReader failed reading zip archive`.
    """
    for title, artefact in artefacts(config):
        if artefact.broken:
            yield Raised(f"{title} {artefact.problem}; copy it again, or build the version again", artefact.path)


@rule(
    "MY602",
    Severity.WARNING,
    summary="an artefact could not be checked",
    mend="Nothing where it is meant to be so; otherwise write it as the message says.",
    verdict=Verdict.LOADS,
)
def artefact_is_not_checked(config: Config) -> Findings:
    """The artefact's tensors were not held against the config, because its file could not be read here."""
    if config.backend in ENGINES:
        return
    for title, artefact in artefacts(config):
        if artefact.problem and not artefact.broken and _is_known(config, artefact):
            yield Raised(f"{title} {artefact.problem}, so its tensors are not checked", artefact.path)


@rule(
    "MY603",
    Severity.WARNING,
    summary="an engine that nothing tells of",
    mend="Build it with `modelyard build`, which records it in manifest.json.",
    verdict=Verdict.UNSEEN,
)
def engine_without_record(config: Config) -> Findings:
    """Only a GPU of its own kind opens an engine, so its tensors, profiles and versions must be written down.

    Without a record nobody knows before the deployment whether the engine loads there.
    """
    if config.backend in ENGINES:
        for title, artefact in artefacts(config):
            if artefact.problem:
                yield Raised(f"{title} {artefact.problem}; build it with modelyard build", artefact.path)


@rule(
    "MY604",
    Severity.ERROR,
    summary="an ONNX opset that the release does not load",
    mend="Export with the release's opset, or serve a newer release.",
    verdict=Verdict.REFUSES,
)
def opset_is_too_new(config: Config) -> Findings:
    """Each release of Triton has one ONNX Runtime, and that one has a newest opset.

    It says `ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions`.
    """
    release = config.settings.release
    for title, artefact in _onnx(config):
        opset = artefact.details["opsets"].get("", 0)
        if opset > release.max_opset:
            yield Raised(
                f"{title} has opset {opset}, and Triton {release.name} (ONNX Runtime {release.onnxruntime}) loads at "
                f"most {release.max_opset}; export it with opset {release.max_opset}",
                artefact.path,
            )


@rule(
    "MY605",
    Severity.ERROR,
    summary="an ONNX IR version that the release does not load",
    mend="Write the file with the release's IR version, or serve a newer release.",
    verdict=Verdict.REFUSES,
)
def ir_version_is_too_new(config: Config) -> Findings:
    """The IR version is that of the file's format; a newer `onnx` package writes a newer one by default.

    ONNX Runtime says `Unsupported model IR version: 20, max supported IR version: 13`. For most models it is enough to
    set `model.ir_version` and save again.
    """
    release = config.settings.release
    for title, artefact in _onnx(config):
        version = artefact.details["ir_version"]
        if version > release.max_ir_version:
            yield Raised(
                f"{title} has IR version {version}, and Triton {release.name} (ONNX Runtime {release.onnxruntime}) "
                f"loads at most {release.max_ir_version}; set model.ir_version and save it again",
                artefact.path,
            )


@rule(
    "MY606",
    Severity.ERROR,
    summary="operators of a library that the config does not name",
    mend="Name the library in model_operations { op_library_filename: … }, or export without these operators.",
    verdict=Verdict.REFUSES,
)
def operators_without_library(config: Config) -> Findings:
    """An operator of a domain of its own comes from a library, which ONNX Runtime must be told of.

    It says `Fatal error: com.example:Fancy(-1) is not a registered function/op`.
    """
    if config.message.model_operations.op_library_filename:
        return
    plugins = {_PLUGINS} if config.message.optimization.execution_accelerators.gpu_execution_accelerator else set()
    for title, artefact in _onnx(config):
        own = {*_OWN_DOMAINS, *artefact.details["function_domains"], *plugins}
        for domain, operators in artefact.details["operators"].items():
            if domain not in own and not domain.startswith(_OWN_PREFIXES):
                yield Raised(
                    f"{title} has the operator {min(operators)} of the domain {domain!r}, and no library has it; name "
                    "one in model_operations { op_library_filename }",
                    artefact.path,
                )


@rule(
    "MY607",
    Severity.ERROR,
    summary="weights beside an ONNX file are missing or cut off",
    mend="Copy the file of weights into the version's folder, or build the version again.",
    verdict=Verdict.REFUSES,
)
def weights_are_missing(config: Config) -> Findings:
    """An ONNX model of more than 2 GB keeps its weights in files beside it, and a copy of model.onnx alone is useless.

    They lie in the version's folder, or with the model in a folder called model.onnx.
    """
    for title, artefact, file in _external(config):
        if file.outside or (file.size is not None and file.size >= file.end):
            continue
        has = "is not there" if file.size is None else f"has {file.size} bytes, expected at least {file.end}"
        yield Raised(
            f"the weights of {title} lie in {file.location!r} beside it, which {has}; copy it again", artefact.path
        )


@rule(
    "MY608",
    Severity.ERROR,
    summary="weights of an ONNX file lie outside its folder",
    mend="Save the model again with its weights beside it.",
    verdict=Verdict.REFUSES,
)
def weights_are_outside(config: Config) -> Findings:
    """A version is complete in its own folder.

    ONNX Runtime says `External data path validation failed … External data path escapes model directory`.
    """
    for title, artefact, file in _external(config):
        if file.outside:
            yield Raised(
                f"the weights of {title} lie in {file.location!r}, outside its folder; save it again with the weights "
                "beside it",
                artefact.path,
            )


@rule(
    "MY609",
    Severity.ERROR,
    summary="an engine of another TensorRT or GPU",
    mend="Build the engine for the release and the GPU that will serve.",
    verdict=Verdict.UNSEEN,
)
def engine_does_not_load(config: Config) -> Findings:
    """An engine loads in the version of TensorRT, and on the kind of GPU, that it was built for.

    This is the most frequent failure of all; Triton says only that it is unable to deserialize the engine.
    """
    for title, artefact, record in _records(config):
        if reason := _lock_problem(config, record):
            yield Raised(f"{title}: {reason}", artefact.path)


@rule(
    "MY610",
    Severity.WARNING,
    summary="an engine that may not load in the release",
    mend="Build it in the release's own image, or enter the image's TensorRT in releases.json.",
    verdict=Verdict.UNSEEN,
)
def engine_may_not_load(config: Config) -> Findings:
    """What the engine was built with is known, and what the release has is not, or the other way round."""
    for title, artefact, record in _records(config):
        if not _lock_problem(config, record) and (reason := _said(record, config, None)):
            yield Raised(f"{title}: {reason}", artefact.path)


@rule(
    "MY611",
    Severity.WARNING,
    summary="a GPU that cc_model_filenames does not name gets another GPU's engine",
    mend="List every compute capability, and name a default_model_filename that no file has.",
    verdict=Verdict.UNSEEN,
)
def engine_falls_back(config: Config) -> Findings:
    """On a GPU that the map does not name, Triton takes `default_model_filename` without a word.

    Left out, that is model.plan. Where it stands it is mostly another GPU's, and does not load or is slow there. A name
    that no file has makes the load fail with a reason instead.
    """
    by_capability = config.message.cc_model_filenames
    if not by_capability or config.backend not in ENGINES:
        return
    machine = config.settings.machine
    capability = machine.compute_capability if machine else ""
    if capability in by_capability or not any(config.filename in version.entries for version in config.served):
        return
    gpu = f"compute capability {capability}, which is" if capability else "a GPU that is"
    yield config.raised(
        f"{gpu} not among {', '.join(sorted(by_capability))} gets {config.filename} without a word; list it, or write "
        'default_model_filename: "no_plan_for_this_compute_capability"',
        "cc_model_filenames",
    )


@rule(
    "MY612",
    Severity.WARNING,
    summary="a key of cc_model_filenames that no GPU has",
    mend='Write it with a point, such as "9.0".',
    verdict=Verdict.UNSEEN,
)
def capability_is_none(config: Config) -> Findings:
    """Triton looks for the GPU's compute capability as text, such as `9.0`; `90` and `sm_90` are never found."""
    for key in sorted(config.message.cc_model_filenames):
        if not _COMPUTE_CAPABILITY.fullmatch(key):
            yield config.raised(
                f"{key!r} is no compute capability, so its file is never served; write it as 9.0",
                "cc_model_filenames",
                key,
            )


@rule(
    "MY613",
    Severity.WARNING,
    summary="a file of cc_model_filenames that a served version does not have",
    mend="Build that engine into the version, or take the line away.",
    verdict=Verdict.UNSEEN,
)
def engine_file_is_missing(config: Config) -> Findings:
    """The model does not load on such a GPU; a new version often lacks the engines of the machines that build last."""
    for key, filename in sorted(config.message.cc_model_filenames.items()):
        for version in config.served:
            if filename not in version.entries:
                yield config.raised(
                    f"version {version.number} has no {filename}, which compute capability {key} needs; build it, or "
                    "take the line away",
                    "cc_model_filenames",
                    key,
                )
                break


@rule(
    "MY614",
    Severity.WARNING,
    summary="a version is not what its manifest lists",
    mend="Copy the version's folder again as a whole, or build the version again.",
    verdict=Verdict.LOADS,
)
def version_is_incomplete(model: Model) -> Findings:
    """manifest.json lists every file that was published, with its size.

    A folder that was copied in part, or a file that was changed in place, serves something that was never verified.
    """
    for version in model.versions.values():
        for name, expected in _listed(version):
            if problem := _damage(version, name, expected):
                yield Raised(
                    f"{version.number}/{name} {problem} (manifest.json); copy the version again, or build it again",
                    version.folder / name,
                )


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


def _is_known(config: Config, artefact: Artefact) -> bool:
    """Whether a problem is worth a word: not where a backend has formats that are not read here."""
    if artefact.problem == NOT_A_FILE or (
        config.backend == "openvino" and artefact.path.suffix not in (".xml", ".onnx")
    ):
        return False
    return config.backend in ("onnxruntime", "openvino", "pytorch", "python")


def _onnx(config: Config) -> Iterator[tuple[str, Artefact]]:
    if config.backend == "onnxruntime":
        for title, artefact in artefacts(config):
            if not artefact.problem:
                yield title, artefact


def _external(config: Config) -> Iterator[tuple[str, Artefact, ExternalFile]]:
    for title, artefact in _onnx(config):
        for file in artefact.details["external_files"]:
            yield title, artefact, file


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


def _records(config: Config) -> Iterator[tuple[str, Artefact, Mapping[str, Any]]]:
    if config.backend in ENGINES:
        for title, artefact in artefacts(config):
            if not artefact.problem:
                yield title, artefact, artefact.details["record"]


def _lock_problem(config: Config, record: Mapping[str, Any]) -> str:
    """Why an engine surely does not load; empty where it may."""
    machine = config.settings.machine
    capability = machine.compute_capability if machine else ""
    if _other_gpu := capability and _said_of_gpu(record, capability):
        return _other_gpu
    known = record.get("library") != "tensorrt" or config.settings.release.tensorrt is not None
    complete = bool(record.get("version") and _capabilities(record))
    return _said(record, config, None) if known and complete else ""


_NO_RECORD = "the engine's record in manifest.json is not one of modelyard build; build it again"


def _said(record: Mapping[str, Any], config: Config, capability: str | None) -> str:
    try:
        return check_lock(record, config.settings.release, capability) or ("" if _capabilities(record) else _NO_RECORD)
    except (TypeError, ValueError, AttributeError, LookupError):
        return _NO_RECORD


def _said_of_gpu(record: Mapping[str, Any], capability: str) -> str:
    built = _capabilities(record)
    level = str(record.get("hardware_compatibility", "none"))
    return check_compute_capability(str(record.get("library")), built, capability, level) if built else ""


def _capabilities(record: Mapping[str, Any]) -> list[str]:
    """Those that an engine was built for; none where the record does not tell them."""
    built = record.get("compute_capabilities")
    return built if isinstance(built, list) and all(map(_is_capability, built)) else []


def _is_capability(text: object) -> bool:
    return isinstance(text, str) and bool(_COMPUTE_CAPABILITY.fullmatch(text))


def _listed(version: Version) -> Iterator[tuple[str, int]]:
    """The files of a version by its manifest, with their sizes; of those in folders the folder is looked at."""
    files = version.manifest.get("files") if "manifest.json" in version.entries else None
    for name, record in sorted(files.items()) if isinstance(files, dict) else ():
        size = record.get("bytes") if isinstance(record, dict) else None
        if isinstance(name, str) and type(size) is int:
            yield name, size


def _damage(version: Version, name: str, expected: int) -> str:
    top, _, below = name.partition("/")
    entry = version.entries.get(top)
    if entry is None:
        return "is gone"
    if not below and entry.is_file and entry.size != expected:
        return f"has {entry.size} bytes, expected {expected}"
    return ""
