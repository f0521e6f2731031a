"""The `parameters` of a config.pbtxt that the container's openvino backend reads.

https://github.com/triton-inference-server/openvino_backend#parameters
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.threads import threads_per_instance

_PERFORMANCE_HINTS = ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT")
_STREAM_WORDS = ("AUTO", "NUMA")
_SWITCHES = ("SKIP_OV_DYNAMIC_BATCHSIZE", "ENABLE_BATCH_PADDING", "RESHAPE_IO_LAYERS")


@dataclass(frozen=True)
class Settings:
    """What a model is read and compiled with.

    Attributes:
        device: OpenVINO's name, ``CPU``.
        properties: Of the compilation, in OpenVINO's words.
        batch_padding: Batches smaller than `max_batch_size` are served.
        reshape: The inputs take the dims of config.pbtxt.
        extension: A library of custom operators; empty where there is none.
        ignored: Switches whose value the container takes for "not set".
    """

    device: str
    properties: dict[str, str | int | bool]
    batch_padding: bool = False
    reshape: bool = False
    extension: str = ""
    ignored: tuple[str, ...] = ()


def model_settings(config: ModelConfig, cores: int | None) -> Settings:
    """Reads them out of a configuration.

    In the container the instances of a model share one compiled model, its threads and its streams; here each is a
    process and gets its share of both.

    Args:
        config: The model's configuration.
        cores: To share out among the instances where config.pbtxt names no number; None leaves a single instance to
            OpenVINO's own default.

    Raises:
        ModelLoadError: A value is not what it must be.
    """
    given = {key: value for key, value in config.parameters.items() if value}
    device = given.get("TARGET_DEVICE", "CPU").upper()
    batches_itself = config.batches and not _switch(given, "SKIP_OV_DYNAMIC_BATCHSIZE")
    return Settings(
        device=device,
        properties={
            "ALLOW_AUTO_BATCHING": batches_itself,
            **_pinning(device),
            **_threads(given, cores, config.instances()),
            **_streams(given, config.instances()),
            **_value(given, "COMPILATION_NUM_THREADS", _number),
            **_value(given, "PERFORMANCE_HINT", _performance_hint),
            **_value(given, "HINT_BF16", _bf16, name="INFERENCE_PRECISION_HINT"),
        },
        batch_padding=_switch(given, "ENABLE_BATCH_PADDING"),
        reshape=_switch(given, "RESHAPE_IO_LAYERS"),
        extension=given.get("CPU_EXTENSION_PATH", ""),
        ignored=tuple(key for key in _SWITCHES if given.get(key, "no").lower() not in ("yes", "no")),
    )


def _pinning(device: str) -> dict[str, bool]:
    """OpenVINO binds its threads to cores, counting from the first: every process to the same ones."""
    return {"ENABLE_CPU_PINNING": False} if device == "CPU" else {}


def _switch(given: Mapping[str, str], key: str) -> bool:
    return given.get(key, "").lower() == "yes"


def _threads(given: Mapping[str, str], cores: int | None, instances: int) -> dict[str, int]:
    """0 is OpenVINO's word for its own default."""
    total = _number("INFERENCE_NUM_THREADS", given.get("INFERENCE_NUM_THREADS", "0")) or cores
    return {"INFERENCE_NUM_THREADS": threads_per_instance(total, instances)} if total else {}


def _streams(given: Mapping[str, str], instances: int) -> dict[str, str | int]:
    text = given.get("NUM_STREAMS", "")
    if not text:
        return {}
    if text.upper() in _STREAM_WORDS:
        return {"NUM_STREAMS": text.upper()}
    if not _is_number(text):
        raise _refusal("NUM_STREAMS", text, "AUTO, NUMA or a number")
    return {"NUM_STREAMS": max(1, int(text) // instances)}


def _value(
    given: Mapping[str, str], key: str, read: Callable[[str, str], str | int], name: str = ""
) -> dict[str, str | int]:
    return {name or key: read(key, given[key])} if key in given else {}


def _number(key: str, text: str) -> int:
    if not _is_number(text):
        raise _refusal(key, text, "a non-negative number")
    return int(text)


def _performance_hint(key: str, text: str) -> str:
    if text.upper() not in _PERFORMANCE_HINTS:
        raise _refusal(key, text, " or ".join(_PERFORMANCE_HINTS))
    return text.upper()


def _bf16(key: str, text: str) -> str:
    if text.lower() != "yes":
        raise _refusal(key, text, "YES, or no such parameter")
    return "bf16"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _refusal(key: str, value: str, expected: str) -> ModelLoadError:
    return ModelLoadError(f"parameter '{key}' is '{value}', expected {expected}: mend it in config.pbtxt")
