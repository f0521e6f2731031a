"""MY4xx, beyond each rule's pair of examples: what else it finds, and where it must be silent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard_build.repository.lint.backend_parameters import TABLE, expected
from modelyard_build.repository.lint.hardware import machine
from modelyard_build.repository.lint.settings import Settings
from support.lint_configs import TENSORS, messages

PYTHON = f'backend: "python"\nmax_batch_size: 8\n{TENSORS}'
ONNX = f'backend: "onnxruntime"\nmax_batch_size: 8\n{TENSORS}'
ON_CPU = Settings(machine=machine("cpu:cores=4"))
ON_GPUS = Settings(machine=machine("h200:gpus=2"))
GPU_TENSORRT = 'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" %s } } }'


def parameter(key: str, value: str) -> str:
    """An entry of `parameters`."""
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


def test_two_instances_are_the_default_on_a_cpu_only(tmp_path: Path) -> None:
    """On a GPU it is one; where the machine is not known it may be a CPU."""
    assert messages(tmp_path, "MY401", ONNX) != []
    assert messages(tmp_path, "MY401", ONNX, ON_CPU) != []
    assert messages(tmp_path, "MY401", ONNX, ON_GPUS) == []
    assert messages(tmp_path, "MY401", ONNX + "instance_group { kind: KIND_GPU }") == []
    assert messages(tmp_path, "MY401", PYTHON) == []


def test_threads_are_counted_where_the_cores_are_known(tmp_path: Path) -> None:
    """Instances on a GPU, and threads that are not stated, are not counted."""
    text = ONNX + "instance_group { count: 2 }\n" + parameter("intra_op_thread_count", "3")
    assert "6 threads, and cpu has 4 cores" in messages(tmp_path, "MY403", text, ON_CPU)[0]
    assert messages(tmp_path, "MY403", text) == []
    assert messages(tmp_path, "MY403", text, ON_GPUS) == []
    assert messages(tmp_path, "MY403", text.replace('"3"', '"2"'), ON_CPU) == []
    assert messages(tmp_path, "MY403", text.replace('"3"', '"0"'), ON_CPU) == []


@pytest.mark.parametrize(
    ("backend", "key", "value", "said"),
    [
        ("onnxruntime", "execution_mode", "2", "0 or 1"),
        ("onnxruntime", "execution_mode", "1", ""),
        ("onnxruntime", "intra_op_thread_count", "two", "a whole number"),
        ("onnxruntime", "intra_op_thread_count", "", "a whole number"),
        ("onnxruntime", "intra_op_thread_count", "-1", ""),
        ("onnxruntime", "intra_op_thread_count", "99999999999", "not so large"),
        ("onnxruntime", "enable_mem_arena", "yes", "true or false"),
        ("onnxruntime", "enable_mem_arena", "ON", ""),
        ("onnxruntime", "cudnn_conv_algo_search", "7", ""),
        ("openvino", "NUM_STREAMS", "many", "AUTO, NUMA or a number"),
        ("openvino", "NUM_STREAMS", "auto", ""),
        ("openvino", "NUM_STREAMS", "4", ""),
        ("openvino", "INFERENCE_NUM_THREADS", "-1", "not negative"),
        ("openvino", "HINT_BF16", "no", "YES"),
        ("openvino", "PERFORMANCE_HINT", "latency", ""),
        ("openvino", "RESHAPE_IO_LAYERS", "maybe", ""),
        ("pytorch", "INFERENCE_MODE", "yes", "true or false"),
        ("pytorch", "INTRA_OP_THREAD_COUNT", "x", "a whole number"),
        ("python", "FORCE_CPU_ONLY_INPUT_TENSORS", "YES", "yes or no"),
        ("python", "FORCE_CPU_ONLY_INPUT_TENSORS", "no", ""),
        ("mine", "execution_mode", "2", ""),
    ],
)
def test_values_are_read_as_the_backend_reads_them(
    tmp_path: Path, backend: str, key: str, value: str, said: str
) -> None:
    """What a backend takes is not refused here; an unknown backend may take anything."""
    text = f'backend: "{backend}"\nmax_batch_size: 8\n{TENSORS}{parameter(key, value)}'
    found = messages(tmp_path, "MY404", text)
    assert [said in message for message in found] == ([True] if said else [])


def test_a_parameter_for_a_gpu_is_judged_on_a_gpu(tmp_path: Path) -> None:
    """Instances on a CPU never read it."""
    text = ONNX + parameter("cudnn_conv_algo_search", "7")
    assert messages(tmp_path, "MY404", text, ON_CPU) == []
    assert "0 or 1 or 2" in messages(tmp_path, "MY404", text, ON_GPUS)[0]


@pytest.mark.parametrize(
    ("backend", "key", "said"),
    [
        ("onnxruntime", "intra_op_num_threads", "Did you mean intra_op_thread_count?"),
        ("onnxruntime", "INTRA_OP_THREAD_COUNT", "Did you mean intra_op_thread_count?"),
        ("openvino", "CPU_THREADS_NUM", "It is called INFERENCE_NUM_THREADS now."),
        ("pytorch", "zzz", "It reads DISABLE_OPTIMIZED_EXECUTION"),
    ],
)
def test_an_unknown_parameter_gets_its_right_name(tmp_path: Path, backend: str, key: str, said: str) -> None:
    """The name that an older release had, else the nearest one."""
    text = f'backend: "{backend}"\nmax_batch_size: 8\n{TENSORS}{parameter(key, "1")}'
    assert said in messages(tmp_path, "MY405", text)[0]


def test_the_compiled_archives_of_pytorch_have_parameters_of_their_own(tmp_path: Path) -> None:
    """`platform: "torch_aoti"` is another implementation, and so is any `runtime`."""
    text = f"%s\nmax_batch_size: 8\n{TENSORS}{parameter('ENABLE_JIT_EXECUTOR', 'true')}"
    assert messages(tmp_path, "MY405", text % 'platform: "torch_aoti"') != []
    assert messages(tmp_path, "MY405", text % 'platform: "pytorch_libtorch"') == []
    assert messages(tmp_path, "MY405", text % 'backend: "onnxruntime" runtime: "mine.so"') == []


def test_a_python_model_reads_any_parameter(tmp_path: Path) -> None:
    """And so does a backend that the table does not know."""
    assert messages(tmp_path, "MY405", PYTHON + parameter("max_length", "128")) == []
    assert messages(tmp_path, "MY405", PYTHON.replace("python", "mine") + parameter("a", "b")) == []


def test_an_accelerator_for_a_gpu_is_an_error_only_on_a_gpu(tmp_path: Path) -> None:
    """On a CPU it is ignored, and where that is not known it is told of as a warning."""
    text = ONNX + GPU_TENSORRT % 'parameters { key: "trt_fp16" value: "1" }'
    assert messages(tmp_path, "MY407", text) == []
    assert messages(tmp_path, "MY407", text, ON_CPU) == []
    assert "no parameter 'trt_fp16'" in messages(tmp_path, "MY407", text, ON_GPUS)[0]
    assert "on a GPU this is refused" in messages(tmp_path, "MY408", text)[0]
    assert "is ignored" in messages(tmp_path, "MY408", text, ON_CPU)[0]
    assert messages(tmp_path, "MY408", text, ON_GPUS) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("precision_mode", "FP8", "FP32 or FP16 or BF16 or INT8"),
        ("precision_mode", "fp16", "FP32 or FP16 or BF16 or INT8"),
        ("precision_mode", "FP16", ""),
        ("max_workspace_size_bytes", "1GB", "a whole number"),
        ("max_workspace_size_bytes", "1073741824", ""),
        ("trt_engine_cache_enable", "yes", "true or false"),
        ("trt_engine_cache_path", "/cache", ""),
    ],
)
def test_the_values_of_the_tensorrt_accelerator_are_read(tmp_path: Path, key: str, value: str, said: str) -> None:
    """As the onnxruntime backend reads them."""
    text = ONNX + GPU_TENSORRT % f'parameters {{ key: "{key}" value: "{value}" }}'
    found = messages(tmp_path, "MY407", text, ON_GPUS)
    assert [said in message for message in found] == ([True] if said else [])


def test_the_cuda_accelerator_takes_any_key(tmp_path: Path) -> None:
    """They are ONNX Runtime's own, and change with it."""
    text = ONNX + GPU_TENSORRT.replace("tensorrt", "cuda") % 'parameters { key: "enable_cuda_graph" value: "1" }'
    assert messages(tmp_path, "MY407", text, ON_GPUS) == []


def test_accelerators_of_other_backends_are_not_read(tmp_path: Path) -> None:
    """Only onnxruntime has any; one that is not known may have."""
    accelerator = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }'
    assert messages(tmp_path, "MY408", PYTHON + accelerator) != []
    assert messages(tmp_path, "MY408", ONNX + accelerator) == []
    assert messages(tmp_path, "MY408", PYTHON.replace("python", "mine") + accelerator) == []


def test_gpus_are_asked_for_by_kind_or_by_number(tmp_path: Path) -> None:
    """KIND_AUTO with gpus becomes KIND_CPU with gpus where there is none, which Triton refuses."""
    by_number = PYTHON + "instance_group { gpus: [ 0 ] }"
    assert "gpus are listed" in messages(tmp_path, "MY410", by_number, ON_CPU)[0]
    assert messages(tmp_path, "MY410", by_number) == []
    assert messages(tmp_path, "MY410", by_number, ON_GPUS) == []
    assert messages(tmp_path, "MY411", PYTHON + "instance_group { kind: KIND_MODEL gpus: [ 0 ] }") != []


def test_numbers_of_gpus_start_at_0(tmp_path: Path) -> None:
    """A negative one no machine has; how many there are must be known for the rest."""
    text = PYTHON + "instance_group { kind: KIND_GPU gpus: [ %s ] }"
    assert messages(tmp_path, "MY412", text % "-1") != []
    assert messages(tmp_path, "MY412", text % "7") == []
    assert messages(tmp_path, "MY412", text % "1", ON_GPUS) == []


def test_an_engine_needs_a_gpu(tmp_path: Path) -> None:
    """Also where the kind is left out, and the machine is known to have none."""
    text = f'backend: "tensorrt"\nmax_batch_size: 8\n{TENSORS}'
    assert messages(tmp_path, "MY413", text) == []
    assert messages(tmp_path, "MY413", text, ON_CPU) != []
    assert messages(tmp_path, "MY413", text + "instance_group { kind: KIND_CPU }") != []
    assert messages(tmp_path, "MY413", text.replace("tensorrt", "openvino") + "instance_group { kind: KIND_GPU }") != []
    assert "kind 9 is none" in messages(tmp_path, "MY413", PYTHON + "instance_group { kind: 9 }")[0]


@pytest.mark.parametrize(
    ("profile", "is_found"),
    [("0", False), ("12", False), (" 1", False), ("+1", False), ("1x", False), ("-1", True), ("x", True), ("", True)],
)
def test_profiles_are_numbers_as_triton_reads_them(tmp_path: Path, profile: str, is_found: bool) -> None:
    """With C++'s stoi, which stops at the first character that is no digit."""
    text = f'backend: "tensorrt"\nmax_batch_size: 8\n{TENSORS}instance_group {{ profile: [ "{profile}" ] }}'
    assert bool(messages(tmp_path, "MY415", text)) is is_found


def test_rate_limits_are_those_of_the_server(tmp_path: Path) -> None:
    """A server that states one resource limits every other to 0; one that states none counts them itself."""
    text = PYTHON + 'instance_group { rate_limiter { resources { name: "R" count: 4 } } }'
    on, limit = "--rate-limit=execution_count", "--rate-limit-resource=%s:4"
    for arguments, refused, is_off in [
        ((), False, True),
        (("--rate-limit=off",), False, True),
        ((on,), False, False),
        ((on, limit % "R"), False, False),
        ((on, limit % "S"), True, False),
        (("--rate-limit-resource", "R:1"), False, True),
        ((on, "--rate-limit-resource", "R:1:0"), True, False),
    ]:
        settings = Settings(server_arguments=arguments)
        assert bool(messages(tmp_path, "MY419", text, settings)) is refused, arguments
        assert bool(messages(tmp_path, "MY418", text, settings)) is is_off, arguments


def test_an_environment_elsewhere_is_the_servers(tmp_path: Path) -> None:
    """What lies in the model's folder is looked for, and nothing else."""
    for path, is_found in [
        ("$$TRITON_MODEL_DIRECTORY/env.tar.gz", True),
        ("$$TRITON_MODEL_DIRECTORY/config.pbtxt", False),
        ("/opt/env.tar.gz", False),
        ("", False),
    ]:
        assert bool(messages(tmp_path, "MY420", PYTHON + parameter("EXECUTION_ENV_PATH", path))) is is_found, path


def test_every_list_form_of_a_map_is_read_for_keys_that_come_twice(tmp_path: Path) -> None:
    """The last entry wins, so each other one is named."""
    text = PYTHON + (
        'parameters [ { key: "a" value { string_value: "1" } }, { key: "a" value { string_value: "2" } } ]\n'
        'parameters { key: "a" value { string_value: "3" } }\nmetric_tags { key: "a" value: "x" }\n'
    )
    assert len(messages(tmp_path, "MY421", text)) == 2


def test_the_table_describes_every_parameter_in_words_that_are_read() -> None:
    """A type that nobody reads would fail on the first such config."""
    for backend in json.loads(TABLE.read_text())["backends"].values():
        sides = [backend["parameters"], *(each or {} for each in backend.get("gpu_accelerators", {}).values())]
        for side in sides:
            assert all(isinstance(expected(described, ""), str) for described in side.values())
        assert set(backend.get("renamed", {}).values()) <= set(backend["parameters"])
