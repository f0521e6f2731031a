"""MY604 to MY608: ONNX files against the release that will load them, and their weights beside them."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard_build.repository.lint.artefacts import Artefact
from modelyard_build.repository.lint.artefacts.onnx import ExternalFile
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import artefacts
from modelyard_build.repository.lint.subjects import Config

# Operators that ONNX Runtime has itself, its own graph passes' included.
_OWN_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training")
_OWN_PREFIXES = ("com.microsoft", "com.ms.internal", "org.pytorch.aten")
_PLUGINS = "trt.plugins"


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


def _onnx(config: Config) -> Iterator[tuple[str, Artefact]]:
    if config.backend == "onnxruntime":
        for title, artefact in artefacts(config):
            if not artefact.problem:
                yield title, artefact


def _external(config: Config) -> Iterator[tuple[str, Artefact, ExternalFile]]:
    for title, artefact in _onnx(config):
        for file in artefact.details["external_files"]:
            yield title, artefact, file
