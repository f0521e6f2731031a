"""Which execution providers of ONNX Runtime serve a model: by its instances' kind and its accelerators.

The order and the options are those of `ModelState::LoadModel` in triton-inference-server/onnxruntime_backend.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.parameters import int_value
from modelyard_server.backends.onnxruntime.tensorrt import provider_options

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

Provider = tuple[str, dict[str, str]]

# `parameters` of the model that set options of the CUDA provider: deprecated, and still read.
_CUDA_CHOICES = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
}
_CUDA_VALUES = ("gpu_mem_limit", "do_copy_in_default_stream")


def execution_providers(config: ModelConfig, kind: str, device_id: int, available: Collection[str]) -> list[Provider]:
    """The providers with their options, the first that can run an operator runs it.

    Args:
        config: The model's configuration.
        kind: Of the instance: ``GPU``, or anything else for the CPU.
        device_id: The GPU's number.
        available: The providers that the installed ONNX Runtime has.

    Raises:
        ModelLoadError: The model asks for what is not available or not known.
    """
    wanted = _gpu_providers(config, device_id) if kind == "GPU" else []
    wanted += _cpu_accelerators(config)
    for name, _ in wanted:
        if name not in available:
            raise ModelLoadError(_UNAVAILABLE[name])
    return [*wanted, (CPU, {})]


def ignored_accelerators(config: ModelConfig, kind: str) -> list[str]:
    """Warnings about GPU accelerators that an instance on the CPU does not read, and a GPU would refuse."""
    if kind == "GPU" or not _accelerators(config, "gpu_execution_accelerator"):
        return []
    warnings = ["gpu_execution_accelerator is ignored: this instance runs on the CPU"]
    try:
        _gpu_providers(config, 0)
    except ModelLoadError as error:
        warnings.append(f"on a GPU this model would be refused: {error}")
    return warnings


def _gpu_providers(config: ModelConfig, device_id: int) -> list[Provider]:
    if config.raw.get("cc_model_filenames"):
        raise ModelLoadError(
            "cc_model_filenames is not read by the embedded Triton: name the file in default_model_filename"
        )
    cuda = _cuda_options(config)
    providers: list[Provider] = []
    for accelerator in _accelerators(config, "gpu_execution_accelerator"):
        parameters = accelerator.get("parameters", {})
        if accelerator["name"] == "tensorrt":
            providers.append((TENSORRT, {**provider_options(parameters), "device_id": str(device_id)}))
        elif accelerator["name"] == "cuda":
            cuda |= parameters
        else:
            raise _unknown("gpu_execution_accelerator", accelerator["name"], ("tensorrt", "cuda"))
    return [*providers, (CUDA, {**cuda, "device_id": str(device_id)})]


def _cpu_accelerators(config: ModelConfig) -> list[Provider]:
    """`openvino` reads no parameters; the container sets only the device."""
    for accelerator in _accelerators(config, "cpu_execution_accelerator"):
        if accelerator["name"] != "openvino":
            raise _unknown("cpu_execution_accelerator", accelerator["name"], ("openvino",))
    return [(OPENVINO, {"device_type": "CPU"}) for _ in _accelerators(config, "cpu_execution_accelerator")[:1]]


def _accelerators(config: ModelConfig, key: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (
        config.raw.get("optimization", {}).get("execution_accelerators", {}).get(key, [])
    )
    return found


def _cuda_options(config: ModelConfig) -> dict[str, str]:
    options = {key: config.parameters[key] for key in _CUDA_VALUES if key in config.parameters}
    for key, choices in _CUDA_CHOICES.items():
        if key in config.parameters:
            choice = int_value(config.parameters, key, 0)
            if not 0 <= choice < len(choices):
                raise ModelLoadError(f"parameter '{key}' is {choice}, expected 0 to {len(choices) - 1}")
            options[key] = choices[choice]
    return options


def _unknown(field: str, name: str, known: Sequence[str]) -> ModelLoadError:
    return ModelLoadError(f"{field} '{name}' is not known, expected {' or '.join(known)}: mend config.pbtxt")


_CPU_INSTEAD = "or serve on the CPU with instance_group [ { kind: KIND_CPU } ]"
_UNAVAILABLE = {
    CUDA: "this instance is KIND_GPU, but the installed onnxruntime has no CUDA provider: install onnxruntime-gpu, "
    + _CPU_INSTEAD,
    TENSORRT: "the tensorrt accelerator is asked for, but the installed onnxruntime has no TensorRT provider: install "
    f"onnxruntime-gpu with TensorRT's libraries, drop the accelerator, {_CPU_INSTEAD}",
    OPENVINO: "the openvino accelerator is asked for, but the installed onnxruntime has no OpenVINO provider: install "
    "onnxruntime-openvino in place of onnxruntime, or drop the accelerator",
}
