"""Session settings, execution providers and parameters of config.pbtxt."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backends.onnxruntime.providers import (
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    execution_providers,
    ignored_accelerators,
)
from modelyard_server.backends.onnxruntime.settings import NO_SPINNING, session_settings

EVERYTHING = (TENSORRT, CUDA, OPENVINO, CPU)


def config(parameters: dict[str, str] | None = None, **fields: Any) -> ModelConfig:
    """A configuration with these parameters and fields."""
    values = {key: {"string_value": value} for key, value in (parameters or {}).items()}
    return ModelConfig.from_dict({"name": "m", "parameters": values, **fields})


def accelerated(field: str, name: str, **parameters: str) -> ModelConfig:
    """A configuration with one accelerator."""
    entry = {"name": name, "parameters": parameters}
    return config(optimization={"execution_accelerators": {field: [entry]}})


@pytest.mark.parametrize(
    ("cores", "groups", "threads"),
    [
        (8, [{"count": 1}], 8),
        (8, [{"count": 2}], 4),
        (8, [{"count": 2}, {"count": 1}], 2),
        (2, [{"count": 4}], 1),
        (8, [{"count": 1, "gpus": [0, 1]}], 4),
        (8, [], 8),
    ],
)
def test_cores_are_shared_out_among_the_instances(cores: int, groups: list[dict[str, Any]], threads: int) -> None:
    """Instances are processes: together they run no more threads than there are cores, each at least one."""
    settings = session_settings(config(instance_group=groups), cores)
    assert (settings.intra_op_threads, settings.inter_op_threads) == (threads, threads)


def test_an_explicit_thread_count_wins_and_0_is_none() -> None:
    """As in the container 0 means: choose."""
    explicit = config({"intra_op_thread_count": "3", "inter_op_thread_count": "5"}, instance_group=[{"count": 4}])
    assert session_settings(explicit, 8).intra_op_threads == 3
    assert session_settings(explicit, 8).inter_op_threads == 5
    every_core = config({"intra_op_thread_count": "0"}, instance_group=[{"count": 4}])
    assert session_settings(every_core, 8).intra_op_threads == 8


@pytest.mark.parametrize(
    ("level", "name"),
    [(-1, "ORT_ENABLE_BASIC"), (0, "ORT_ENABLE_ALL"), (1, "ORT_ENABLE_EXTENDED"), (2, "ORT_DISABLE_ALL")],
)
def test_the_graph_level_is_the_containers(level: int, name: str) -> None:
    """-1 basic, 1 extended, 2 none, anything else all."""
    assert session_settings(config(optimization={"graph": {"level": level}}), 1).graph_optimization_level == name


def test_without_parameters_almost_everything_is_onnxruntimes_default() -> None:
    """Sequential, all optimisations, and no memory setting touched; only waiting threads do not spin."""
    settings = session_settings(config(), 1)
    assert settings.graph_optimization_level == "ORT_ENABLE_ALL"
    assert not settings.parallel
    assert (settings.mem_arena, settings.mem_pattern) == (None, None)
    assert (settings.session_entries, settings.run_entries, settings.op_libraries) == (NO_SPINNING, {}, ())


def test_parameters_reach_the_settings() -> None:
    """Every parameter that the container's backend reads."""
    parameters = {
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "ON",
        "memory.enable_memory_arena_shrinkage": "cpu:0",
        "session.use_device_allocator_for_initializers": "1",
    }
    settings = session_settings(config(parameters, model_operations={"op_library_filename": ["libops.so"]}), 1)
    assert settings.parallel
    assert (settings.mem_arena, settings.mem_pattern) == (False, True)
    assert settings.run_entries == {"memory.enable_memory_arena_shrinkage": "cpu:0"}
    assert settings.session_entries == {**NO_SPINNING, "session.use_device_allocator_for_initializers": "1"}
    assert settings.op_libraries == ("libops.so",)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("intra_op_thread_count", "two", "a whole number"),
        ("execution_mode", "2", "expected 0 .sequential. or 1 .parallel."),
        ("enable_mem_arena", "maybe", "true, on, 1, false, off or 0"),
    ],
)
def test_a_value_of_another_kind_is_refused(key: str, value: str, expected: str) -> None:
    """The message names the parameter, its value and what it may be."""
    with pytest.raises(ModelLoadError, match=f"parameter '{key}' is '?{value}'?, expected .*{expected}|{expected}"):
        session_settings(config({key: value}), 1)


def test_an_instance_on_the_cpu_runs_on_the_cpu() -> None:
    """Whatever ONNX Runtime has."""
    assert execution_providers(config(), "CPU", 0, EVERYTHING) == [(CPU, {})]


def test_an_instance_on_a_gpu_needs_the_cuda_provider() -> None:
    """Without it the two ways out are given; with it the device and the deprecated parameters are passed on."""
    with pytest.raises(ModelLoadError, match=r"KIND_GPU.*onnxruntime-gpu.*KIND_CPU"):
        execution_providers(config(), "GPU", 0, [CPU])
    tuned = config({"cudnn_conv_algo_search": "1", "gpu_mem_limit": "1000", "arena_extend_strategy": "0"})
    options = {
        "cudnn_conv_algo_search": "HEURISTIC",
        "gpu_mem_limit": "1000",
        "arena_extend_strategy": "kNextPowerOfTwo",
        "device_id": "1",
    }
    assert execution_providers(tuned, "GPU", 1, EVERYTHING) == [(CUDA, options), (CPU, {})]
    with pytest.raises(ModelLoadError, match="'cudnn_conv_algo_search' is 3, expected 0 to 2"):
        execution_providers(config({"cudnn_conv_algo_search": "3"}), "GPU", 0, EVERYTHING)


def test_the_tensorrt_accelerator_comes_before_cuda() -> None:
    """Its keys become the options of ONNX Runtime, under its names."""
    keys = {"precision_mode": "FP16", "max_workspace_size_bytes": "1000", "trt_engine_cache_enable": "true"}
    tensorrt, cuda, cpu = execution_providers(
        accelerated("gpu_execution_accelerator", "tensorrt", **keys), "GPU", 0, EVERYTHING
    )
    assert tensorrt == (
        TENSORRT,
        {
            "trt_fp16_enable": "1",
            "trt_max_workspace_size": "1000",
            "trt_engine_cache_enable": "true",
            "device_id": "0",
        },
    )
    assert (cuda[0], cpu[0]) == (CUDA, CPU)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"trt_nonsense": "1"}, "no parameter 'trt_nonsense'"),
        ({"precision_mode": "FP8"}, "precision_mode is 'FP8', expected one of FP32, FP16, BF16, INT8"),
        ({"trt_min_subgraph_size": "few"}, "'trt_min_subgraph_size' is 'few', expected a whole number"),
        ({"trt_dla_enable": "perhaps"}, "'trt_dla_enable' is 'perhaps', expected true"),
    ],
)
def test_an_unknown_tensorrt_key_is_refused_on_a_gpu_and_a_warning_on_the_cpu(
    parameters: dict[str, str], words: str
) -> None:
    """The container's CPU instances never read the accelerator; the log says that a GPU would refuse it."""
    broken = accelerated("gpu_execution_accelerator", "tensorrt", **parameters)
    with pytest.raises(ModelLoadError) as refusal:
        execution_providers(broken, "GPU", 0, EVERYTHING)
    assert words in str(refusal.value)
    assert execution_providers(broken, "CPU", 0, EVERYTHING) == [(CPU, {})]
    ignored, refused = ignored_accelerators(broken, "CPU")
    assert "is ignored" in ignored
    assert words in refused


def test_an_accelerator_that_is_fine_is_only_ignored_on_the_cpu() -> None:
    """One warning, and none without an accelerator or on a GPU."""
    cuda = accelerated("gpu_execution_accelerator", "cuda", use_ep_level_unified_stream="1")
    assert len(ignored_accelerators(cuda, "CPU")) == 1
    assert ignored_accelerators(cuda, "GPU") == []
    assert ignored_accelerators(config(), "CPU") == []


def test_cuda_options_of_the_accelerator_win_over_the_deprecated_parameters() -> None:
    """The accelerator is the newer place."""
    entry = {"name": "cuda", "parameters": {"gpu_mem_limit": "2000"}}
    both = config(
        {"gpu_mem_limit": "1000"}, optimization={"execution_accelerators": {"gpu_execution_accelerator": [entry]}}
    )
    assert execution_providers(both, "GPU", 0, EVERYTHING)[0] == (CUDA, {"gpu_mem_limit": "2000", "device_id": "0"})


def test_the_openvino_accelerator_needs_its_provider() -> None:
    """It reads no parameters; without the provider the message names the package."""
    openvino = accelerated("cpu_execution_accelerator", "openvino")
    assert execution_providers(openvino, "CPU", 0, EVERYTHING) == [(OPENVINO, {"device_type": "CPU"}), (CPU, {})]
    with pytest.raises(ModelLoadError, match="onnxruntime-openvino"):
        execution_providers(openvino, "CPU", 0, [CPU])


@pytest.mark.parametrize("field", ["gpu_execution_accelerator", "cpu_execution_accelerator"])
def test_an_unknown_accelerator_is_refused(field: str) -> None:
    """With the names that are known."""
    with pytest.raises(ModelLoadError, match=f"{field} 'magic' is not known, expected"):
        execution_providers(accelerated(field, "magic"), "GPU", 0, EVERYTHING)


def test_a_file_chosen_by_compute_capability_is_refused_on_a_gpu() -> None:
    """Serving the default file in its place would be silently wrong."""
    with pytest.raises(ModelLoadError, match="cc_model_filenames"):
        execution_providers(config(cc_model_filenames={"9.0": "model.sm90.onnx"}), "GPU", 0, EVERYTHING)
