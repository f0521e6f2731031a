"""Configs of candidates: the lines that depend on the artefact, each where Triton reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from modelyard_build.errors import ConfigContradiction
from modelyard_build.repository import config
from modelyard_build.repository.cc_model_filenames import NO_PLAN, plan_filename
from modelyard_build.repository.config import Serving
from modelyard_build.targets import CANDIDATES, target_of
from modelyard_build.targets.target import Candidate
from support.candidates import candidate
from support.small_models import POOLER


def rendered(serving: Serving) -> tuple[str, model_config_pb2.ModelConfig]:
    """The text, and what Triton reads in it."""
    text = config.render(POOLER, serving=serving)
    return text, text_format.Parse(text, model_config_pb2.ModelConfig())


def serving_of(name: str) -> Serving:
    item = candidate(name)
    return target_of(item).serving(item, POOLER)


@pytest.mark.parametrize("item", CANDIDATES, ids=lambda item: item.name)
def test_every_serving_parses_with_batching_and_tensors(item: Candidate) -> None:
    """Whatever is served, the rest of the config is the model's."""
    _, stated = rendered(target_of(item).serving(item, POOLER))
    assert [tensor.name for tensor in stated.input] == ["input_ids", "attention_mask"]
    assert stated.dynamic_batching.max_queue_delay_microseconds == 1000
    assert stated.version_policy.latest.num_versions == 1
    assert {key: value.string_value for key, value in stated.parameters.items()}.items() >= item.parameters.items()


def test_the_portable_config_names_no_file(tmp_path: Path) -> None:
    """Backend and threads alone: the default name is the artefact's, and each kind of machine can serve it."""
    text, stated = rendered(config.PORTABLE)
    assert "default_model_filename" not in text
    assert (stated.backend, config.filename(stated)) == ("onnxruntime", "model.onnx")
    assert stated.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_AUTO
    assert stated.parameters["intra_op_thread_count"].string_value == "0"


def test_a_file_with_another_name_is_named() -> None:
    """Only then: int8 lies beside the portable graph."""
    _, stated = rendered(serving_of("onnxruntime-int8"))
    assert stated.default_model_filename == "model.int8.onnx"
    text, _ = rendered(serving_of("openvino-fp32"))
    assert "default_model_filename" not in text


def test_one_profile_is_not_listed_and_several_are() -> None:
    """Triton serves profile 0 alone unless each is listed, by its number."""
    one, several = (
        rendered(Serving("tensorrt", "model.fp16.plan", instance_kind="KIND_GPU", profiles=count))[1]
        for count in (1, 3)
    )
    assert list(one.instance_group[0].profile) == []
    assert list(several.instance_group[0].profile) == ["0", "1", "2"]
    assert several.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU


def test_plans_are_listed_by_compute_capability_and_the_fallback_is_closed() -> None:
    """In the order of the numbers; a GPU that is not listed gets a name that no file has."""
    plans = {cc: plan_filename("model.fp16.plan", cc) for cc in ("10.0", "8.9", "9.0")}
    text, stated = rendered(Serving("tensorrt", "model.fp16.plan", instance_kind="KIND_GPU", plans=plans))
    assert dict(stated.cc_model_filenames) == {
        "8.9": "model.fp16.sm89.plan",
        "9.0": "model.fp16.sm90.plan",
        "10.0": "model.fp16.sm100.plan",
    }
    assert stated.default_model_filename == NO_PLAN
    assert text.index('"8.9"') < text.index('"9.0"') < text.index('"10.0"')
    assert config.filename(stated, "9.0") == "model.fp16.sm90.plan"
    assert config.filename(stated, "12.0") == config.filename(stated) == NO_PLAN


@pytest.mark.parametrize("key", ["9", "sm90", "9.0 "])
def test_a_key_that_is_no_compute_capability_is_refused(key: str) -> None:
    """Triton would never find the plan under it."""
    with pytest.raises(ConfigContradiction, match=f"such as 9.0; got {key}"):
        rendered(Serving("tensorrt", "model.plan", plans={key: "model.plan"}))


def test_parameters_have_their_remark_before_them() -> None:
    """What an operator must know stands in the line above; a parameter without a remark stands alone."""
    text, stated = rendered(Serving("openvino", "model.xml", parameters={"HINT_BF16": "YES", "OTHER": "1"}))
    lines = text.splitlines()
    at = lines.index('parameters { key: "HINT_BF16", value: { string_value: "YES" } }')
    assert lines[at - 1].startswith("# Products in bfloat16")
    assert lines[at + 1] == 'parameters { key: "OTHER", value: { string_value: "1" } }'
    assert {key: value.string_value for key, value in stated.parameters.items()} == {"HINT_BF16": "YES", "OTHER": "1"}


def test_partial_batches_are_explained() -> None:
    """The setting without which the container refuses a batch that is not full."""
    text, stated = rendered(serving_of("openvino-bf16"))
    assert stated.parameters["ENABLE_BATCH_PADDING"].string_value == "YES"
    assert "# NVIDIA's container computes every batch at max_batch_size" in text


def test_a_gpu_accelerator_has_its_parameters() -> None:
    """TensorRT through ONNX Runtime: name and options arrive in Triton's message."""
    _, stated = rendered(serving_of("onnxruntime-tensorrt-fp16"))
    (accelerator,) = stated.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["trt_engine_cache_enable"] == "true"
    assert not stated.optimization.execution_accelerators.cpu_execution_accelerator


def test_a_cpu_accelerator_has_its_name() -> None:
    """OpenVINO through ONNX Runtime."""
    _, stated = rendered(serving_of("onnxruntime-openvino-fp32"))
    assert [item.name for item in stated.optimization.execution_accelerators.cpu_execution_accelerator] == ["openvino"]
    assert not stated.optimization.execution_accelerators.gpu_execution_accelerator


def test_notes_stand_in_the_head() -> None:
    """Why the config says what it says, below the model's own line."""
    text = config.render(POOLER, notes=("For cpu-amx: openvino-bf16, 300 items/s.",))
    assert text.splitlines()[:2] == ["# a MiniLM in small.", "# For cpu-amx: openvino-bf16, 300 items/s."]


def test_configs_of_machines_are_found_behind_the_portable_one(tmp_path: Path) -> None:
    """config.pbtxt first, then each configs/*.pbtxt; other files are none."""
    for name in ("config.pbtxt", "configs/b.pbtxt", "configs/a.pbtxt", "configs/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(config.render(POOLER))
    names = [path.relative_to(tmp_path).as_posix() for path in config.paths(tmp_path)]
    assert names == ["config.pbtxt", "configs/a.pbtxt", "configs/b.pbtxt"]
    assert config.paths(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("text", "filename"),
    [
        ('platform: "torch_aoti"', "model.pt2"),
        ('platform: "tensorrt_plan"', "model.plan"),
        ('backend: "openvino"', "model.xml"),
        ('backend: "python"', "model.py"),
        ('backend: "openvino" default_model_filename: "other.xml"', "other.xml"),
        ('backend: "somebody_elses"', ""),
    ],
)
def test_the_file_that_a_config_serves(text: str, filename: str) -> None:
    """By name, or by the default of its backend or platform."""
    assert config.filename(text_format.Parse(text, model_config_pb2.ModelConfig())) == filename
