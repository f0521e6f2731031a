"""The keys of the `tensorrt` accelerator in config.pbtxt, and the options of ONNX Runtime that they set.

https://github.com/triton-inference-server/onnxruntime_backend#onnx-runtime-with-tensorrt-optimization
"""

from __future__ import annotations

from collections.abc import Mapping

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.parameters import bool_value, int_value

_PRECISIONS = {"FP32": {}, "FP16": {"trt_fp16_enable": "1"}, "BF16": {"trt_bf16_enable": "1"}}
_PRECISIONS["INT8"] = {"trt_int8_enable": "1"}

# Keys that are called otherwise in ONNX Runtime.
_RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_NUMBERS = {
    "max_workspace_size_bytes",
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
    "trt_dla_core",
    "trt_builder_optimization_level",
    "trt_auxiliary_streams",
    "trt_ep_context_embed_mode",
}
_SWITCHES = {
    "int8_use_native_calibration_table",
    "trt_dla_enable",
    "trt_engine_cache_enable",
    "trt_dump_subgraphs",
    "trt_force_sequential_engine_build",
    "trt_context_memory_sharing_enable",
    "trt_layer_norm_fp32_fallback",
    "trt_timing_cache_enable",
    "trt_force_timing_cache",
    "trt_detailed_build_log",
    "trt_build_heuristics_enable",
    "trt_sparsity_enable",
    "trt_cuda_graph_enable",
    "trt_dump_ep_context_model",
}
_TEXTS = {
    "int8_calibration_table_name",
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_timing_cache_path",
    "trt_tactic_sources",
    "trt_extra_plugin_lib_paths",
    "trt_profile_min_shapes",
    "trt_profile_max_shapes",
    "trt_profile_opt_shapes",
    "trt_ep_context_file_path",
}


def provider_options(parameters: Mapping[str, str]) -> dict[str, str]:
    """The options of TensorrtExecutionProvider.

    Args:
        parameters: Of the accelerator, as in config.pbtxt.

    Raises:
        ModelLoadError: A key is not known, or a value is not what it must be.
    """
    options: dict[str, str] = {}
    for key, value in parameters.items():
        if key == "precision_mode":
            options |= _precision(value)
        else:
            _check(key, parameters)
            options[_RENAMED.get(key, key)] = value
    return options


def _precision(value: str) -> dict[str, str]:
    if value not in _PRECISIONS:
        raise ModelLoadError(f"precision_mode is '{value}', expected one of {', '.join(_PRECISIONS)}")
    return _PRECISIONS[value]


def _check(key: str, parameters: Mapping[str, str]) -> None:
    if key in _NUMBERS:
        int_value(parameters, key, 0)
    elif key in _SWITCHES:
        bool_value(parameters, key, default=False)
    elif key not in _TEXTS:
        raise ModelLoadError(
            f"the tensorrt accelerator has no parameter '{key}': expected precision_mode or one of "
            f"{', '.join(sorted(_NUMBERS | _SWITCHES | _TEXTS))}"
        )
