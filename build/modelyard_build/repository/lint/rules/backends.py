"""MY120 to MY124: which backend serves a model, and whether there is one."""

from __future__ import annotations

import difflib

from modelyard_build.repository.layout import BACKEND_OF_PLATFORM
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.tensor_texts import did_you_mean
from modelyard_build.repository.lint.subjects import Config

_ENSEMBLE = "ensemble"
# The backends that Triton holds a platform against, each with its own; any platform goes with the others.
_PLATFORMS = {
    "onnxruntime": ("onnxruntime_onnx",),
    "tensorrt": ("tensorrt_plan",),
    "pytorch": ("pytorch_libtorch", "libtorch", "torch_aoti"),
    "tensorflow": ("tensorflow_graphdef", "tensorflow_savedmodel"),
}
_KNOWN_PLATFORMS = (*BACKEND_OF_PLATFORM, *_PLATFORMS["tensorflow"], "libtorch", _ENSEMBLE)
# In NVIDIA's containers, and ours.
_BACKENDS = (
    *("onnxruntime", "openvino", "pytorch", "tensorrt", "python", "dali", "fil", "vllm", "tensorrtllm"),
    *("identity", "repeat", "square", "tensorrt_rtx"),
)
_MEANT = {
    "onnx": "onnxruntime",
    "ort": "onnxruntime",
    "onnxruntime_onnx": "onnxruntime",
    "trt": "tensorrt",
    "tensorrt_plan": "tensorrt",
    "plan": "tensorrt",
    "torch": "pytorch",
    "pt": "pytorch",
    "libtorch": "pytorch",
    "pytorch_libtorch": "pytorch",
    "torchscript": "pytorch",
    "torch_aoti": "pytorch",
    "py": "python",
    "python3": "python",
    "ov": "openvino",
    "trtllm": "tensorrtllm",
}


@rule(
    "MY120",
    Severity.ERROR,
    summary="platform and backend do not go together",
    mend="Take `platform` away: `backend` says it all.",
    verdict=Verdict.REFUSES,
)
def pair_is_refused(config: Config) -> Findings:
    """Triton says `unexpected 'platform' and 'backend' pair, got:onnxruntime_onnx, tensorrt`."""
    message = config.message
    if message.backend and message.platform and message.platform != _ENSEMBLE:
        expected = _PLATFORMS.get(message.backend)
        if expected and message.platform not in expected:
            yield config.raised(
                f"platform {message.platform!r} does not go with backend {message.backend!r}, expected "
                f"{expected[0]!r}; take platform away",
                "platform",
            )


@rule(
    "MY121",
    Severity.ERROR,
    summary="a platform that there is not, or nothing that tells the backend",
    mend='Write `backend: "…"` instead.',
    verdict=Verdict.REFUSES,
)
def backend_cannot_be_told(config: Config) -> Findings:
    """A model says its backend by `backend`, by `platform`, or by a file of a known name in its version.

    Triton says `unexpected platform type 'onnx' for …`, or `Could not determine backend for model '…' with no backend
    in model configuration`.
    """
    message = config.message
    if message.backend:
        return
    if message.platform:
        if message.platform not in _KNOWN_PLATFORMS and message.default_model_filename not in ("model.py", "model.xml"):
            meant = _meant(message.platform)
            yield config.raised(
                f"there is no platform {message.platform!r}"
                + (f'; write backend: "{meant}"' if meant else did_you_mean(message.platform, _KNOWN_PLATFORMS)),
                "platform",
            )
    elif not config.backend and not message.HasField("ensemble_scheduling") and not _is_named_after_one(config):
        yield config.raised('nothing tells which backend serves it; write backend: "…"')


@rule(
    "MY122",
    Severity.WARNING,
    summary="a config that leaves the backend to the file's name",
    mend='Write `backend: "…"`.',
    verdict=Verdict.LOADS,
)
def backend_is_guessed(config: Config) -> Findings:
    """Triton looks into the first folder by name, and takes the backend that a file of a known name belongs to.

    A second file, or another folder that comes first, makes it another backend, or none.
    """
    message = config.message
    if config.backend and not message.backend and not message.platform:
        yield config.raised(f'Triton guesses the backend by a file\'s name; write backend: "{config.backend}"')


@rule(
    "MY123",
    Severity.ERROR,
    summary="a misspelt backend",
    mend="Write the backend's name as it is called.",
    verdict=Verdict.REFUSES,
)
def backend_is_misspelt(config: Config) -> Findings:
    """Backends are folders, and their names are exact.

    Triton says `unable to find backend library for backend 'onnx', try specifying runtime on the model configuration`.
    """
    name = config.message.backend
    if name not in _BACKENDS and (meant := _meant(name)) and not _brings_its_library(config):
        yield config.raised(f"there is no backend {name!r}; did you mean {meant!r}?", "backend")


@rule(
    "MY124",
    Severity.WARNING,
    summary="a backend that NVIDIA's container does not have",
    mend="Correct the name, or see that the server's --backend-directory has it.",
    verdict=Verdict.UNSEEN,
)
def backend_is_not_in_the_container(config: Config) -> Findings:
    """A backend of your own is served where its library lies in the model's folder or in the backend directory.

    Elsewhere Triton says `unable to find backend library for backend '…', try specifying runtime on the model
    configuration`.
    """
    name = config.message.backend
    if name and name not in _BACKENDS and name != _ENSEMBLE and not _meant(name) and not _brings_its_library(config):
        yield config.raised(
            f"backend {name!r} is not in NVIDIA's container, and no libtriton_{name}.so is in the model's folder; see "
            "that the server has it",
            "backend",
        )


def _meant(name: str) -> str:
    """The backend that a name stands for that is none; empty: it may be one of somebody's own."""
    lower = name.strip().lower()
    if lower in _MEANT:
        return _MEANT[lower]
    close = difflib.get_close_matches(lower, _BACKENDS, 1, 0.85)
    return close[0] if close else ""


def _brings_its_library(config: Config) -> bool:
    library = f"libtriton_{config.message.backend}.so"
    folders = [config.model.entries, *(version.entries for version in config.model.versions.values())]
    return bool(config.message.runtime) or any(library in entries for entries in folders)


def _is_named_after_one(config: Config) -> bool:
    """Whether the model is called NAME.BACKEND, which counts where nothing else tells."""
    return "." in config.model.name and not config.message.default_model_filename
