"""Models of the real OpenVINO: what they are fitted to, run, and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from modelyard_server.backend_support.autocomplete import Completion
from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backends.openvino.autocomplete import needs_completion
from modelyard_server.backends.openvino.loading import load, read_completion
from support import onnx_models, openvino_models

X = {"name": "x", "data_type": "TYPE_FP32", "dims": [3]}
Y = {"name": "y", "data_type": "TYPE_FP32", "dims": [2]}
WEIGHTS = np.arange(6).reshape(3, 2)
TYPES = ("BOOL", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "UINT32", "UINT64", "FP16", "FP32")


def config(**fields: Any) -> ModelConfig:
    """The configuration that fits the matrix product, with changes; parameters as plain strings."""
    parameters = {key: {"string_value": value} for key, value in fields.pop("parameters", {}).items()}
    raw = {"name": "m", "max_batch_size": 8, "input": [X], "output": [Y], "parameters": parameters, **fields}
    return ModelConfig.from_dict(raw)


def loaded(model: openvino.Model, folder: Path, **fields: Any) -> Loaded:
    """The model, saved and loaded."""
    (folder / "1").mkdir(parents=True)
    openvino.save_model(model, folder / "1" / "model.xml", compress_to_fp16=False)
    return load(config(**fields), folder / "1", Placement("CPU"))


def rows(count: int) -> dict[str, Any]:
    """That many rows of ones."""
    return {"x": np.ones((count, 3), dtype=np.float32)}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", [(2, 2), (2, 0)])
def test_every_type_passes_unchanged(tmp_path: Path, name: str, shape: tuple[int, int]) -> None:
    """All that Triton and OpenVINO share, at their limits, empty tensors included.

    OpenVINO computes 64-bit integers in 32 bits on a CPU, here as in the container.
    """
    kind = np.dtype({"FP16": "float16", "FP32": "float32"}.get(name, name.lower()))
    limits: Any = (
        np.finfo(kind)
        if name.startswith("FP")
        else np.iinfo("int32" if name == "INT64" else kind)
        if name != "BOOL"
        else None
    )
    values = np.resize(np.array([limits.min, limits.max, 0, 1] if limits else [True, False], dtype=kind), shape)
    tensor = {"data_type": f"TYPE_{name}", "dims": [-1, -1]}
    model = loaded(
        openvino_models.identity(kind), tmp_path, max_batch_size=0, input=[{**X, **tensor}], output=[{**Y, **tensor}]
    )
    (answer,) = model.runtime.run(["y"], {"x": values})
    assert (answer.dtype, answer.shape) == (kind, shape)
    assert (answer == values).all()


def test_an_array_that_cannot_be_written_or_is_not_contiguous_runs(tmp_path: Path) -> None:
    """It is copied, as OpenVINO shares neither."""
    model = loaded(openvino_models.matmul(WEIGHTS), tmp_path, parameters={"ENABLE_BATCH_PADDING": "yes"})
    spread = np.ones((2, 6), dtype=np.float32)[:, ::2]
    spread.flags.writeable = False
    assert model.runtime.run(["y"], {"x": spread})[0].tolist() == [[6, 9]] * 2


def test_without_padding_the_batch_is_fixed(tmp_path: Path) -> None:
    """Exactly max_batch_size items run; the plan says that a failed batch cannot run in parts."""
    model = loaded(openvino_models.matmul(WEIGHTS), tmp_path)
    assert model.plan.fixed_batch
    assert model.runtime.run(["y"], rows(8))[0].tolist() == [[6, 9]] * 8
    with pytest.raises(ExecutionError, match="a batch of 7, and the model is compiled for max_batch_size 8"):
        model.runtime.run(["y"], rows(7))


@pytest.mark.parametrize("batch", [-1, 1])
def test_with_padding_any_batch_runs(tmp_path: Path, batch: int) -> None:
    """Also of a model that was saved with a batch of 1."""
    model = loaded(openvino_models.matmul(WEIGHTS, batch=batch), tmp_path, parameters={"ENABLE_BATCH_PADDING": "YES"})
    assert not model.plan.fixed_batch
    assert [model.runtime.run(["y"], rows(count))[0].shape for count in (1, 3, 8)] == [(1, 2), (3, 2), (8, 2)]


def test_answers_stay_when_the_model_runs_again(tmp_path: Path) -> None:
    """OpenVINO writes each answer into the same memory."""
    model = loaded(openvino_models.matmul(WEIGHTS), tmp_path, parameters={"ENABLE_BATCH_PADDING": "YES"})
    (first,) = model.runtime.run(["y"], rows(1))
    model.runtime.run(["y"], {"x": np.zeros((1, 3), dtype=np.float32)})
    assert first.tolist() == [[6, 9]]


def test_threads_may_run_on_every_core(tmp_path: Path) -> None:
    """Instances are processes: bound to cores, all of them would run on the first."""
    runtime: Any = loaded(openvino_models.matmul(WEIGHTS), tmp_path).runtime
    assert runtime._request.get_compiled_model().get_property("ENABLE_CPU_PINNING") is False


def test_openvinos_errors_are_ours(tmp_path: Path) -> None:
    """A shape that config.pbtxt leaves open and the model does not take fails in OpenVINO's words, in one line."""
    model = loaded(
        openvino_models.matmul(WEIGHTS),
        tmp_path,
        input=[{**X, "dims": [-1]}],
        parameters={"ENABLE_BATCH_PADDING": "YES"},
    )
    with pytest.raises(ExecutionError, match=r"^openvino: [^\n]*$"):
        model.runtime.run(["y"], {"x": np.ones((1, 4), dtype=np.float32)})
    assert model.runtime.run(["y"], rows(1))[0].tolist() == [[6, 9]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input": [{**X, "dims": [4]}]}, r"input 'x' has shape \[-1,4\] .*\[-1,3\] in 1/model.xml: set dims: \[ 3 \]"),
        ({"input": [{**X, "dims": [1, 3]}]}, r"input 'x' has shape \[-1,1,3\]"),
        ({"max_batch_size": 0}, r"input 'x' has shape \[3\] in config.pbtxt and .*: set dims: \[ -1, 3 \]"),
        (
            {"max_batch_size": 0, "input": [{**X, "dims": [-1, -1]}]},
            r"input 'x' has shape \[-1,-1\] .*: set dims: \[ -1, 3 \]",
        ),
        ({"output": [{**Y, "dims": [-1]}]}, r"output 'y' has shape \[8,-1\] .*\[8,2\].*: set dims: \[ 2 \]"),
        ({"input": [X, {**X, "name": "b"}]}, "input 'b', which 1/model.xml does not have"),
        ({"input": []}, r"needs input 'x' \(TYPE_FP32 \[-1,3\]\)"),
        ({"output": [{**Y, "data_type": "TYPE_BF16"}]}, "data_type TYPE_BF16, which the openvino backend does not"),
        ({"input": [{**X, "data_type": "TYPE_STRING"}]}, "data_type TYPE_STRING"),
        ({"input": [{**X, "optional": True}]}, r"does not serve optional: true \('x'\)"),
        (
            {"sequence_batching": {"control_input": [{"name": "START", "control": [{"fp32_false_true": [0, 1]}]}]}},
            r"does not serve sequence_batching.control_input \('START'\)",
        ),
        (
            {
                "batch_input": [
                    {
                        "kind": "BATCH_ELEMENT_COUNT",
                        "target_name": ["n"],
                        "data_type": "TYPE_INT32",
                        "source_input": ["x"],
                    }
                ]
            },
            r"does not serve batch_input \('n'\)",
        ),
        ({"parameters": {"TARGET_DEVICE": "NPU"}}, "'TARGET_DEVICE' is 'NPU', and OpenVINO finds CPU"),
        ({"parameters": {"CPU_EXTENSION_PATH": "/no/ops.so"}}, "cannot load CPU_EXTENSION_PATH '/no/ops.so'"),
        ({"default_model_filename": "m.xml"}, r"no file 1/m.xml; the version holds model.bin, model.xml"),
    ],
)
def test_a_contradiction_is_refused_with_the_mend(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    """Each rule of the container's backend, broken once."""
    with pytest.raises(ModelLoadError, match=words):
        loaded(openvino_models.matmul(WEIGHTS), tmp_path, **fields)


def test_a_bounded_dimension_takes_neither_minus_one_nor_its_ends(tmp_path: Path) -> None:
    """As the container compares: only sizes strictly within the bounds."""
    model = openvino_models.identity(np.float32, (-1, openvino.Dimension(1, 8)))
    fields = {"max_batch_size": 0, "output": [{**Y, "dims": [-1, 4]}]}
    for size in (-1, 1, 8):
        with pytest.raises(ModelLoadError, match=r"\[-1,1\.\.8\] in 1/model\.xml"):
            loaded(model, tmp_path / str(size), input=[{**X, "dims": [-1, size]}], **fields)
    loaded(model, tmp_path / "fits", input=[{**X, "dims": [-1, 4]}], **fields)


def test_tensors_without_a_name_are_refused(tmp_path: Path) -> None:
    """Triton addresses tensors by name."""
    model = openvino_models.matmul(WEIGHTS)
    model.output(0).tensor.set_names(set())
    with pytest.raises(ModelLoadError, match=r"tensor 0 at an end of 1/model\.xml has no name"):
        loaded(model, tmp_path)


@pytest.mark.parametrize("kind", ["GPU", "MODEL"])
def test_another_kind_than_the_cpu_is_refused(tmp_path: Path, kind: str) -> None:
    """With the line that mends it."""
    with pytest.raises(ModelLoadError, match=rf"KIND_{kind}, .* set instance_group \[ {{ kind: KIND_CPU }} \]"):
        load(config(), tmp_path, Placement(kind))


def completion(model: openvino.Model, folder: Path, **fields: Any) -> Completion:
    """What the model adds to a configuration with these fields only."""
    (folder / "1").mkdir(parents=True)
    openvino.save_model(model, folder / "1" / "model.xml")
    return read_completion(ModelConfig.from_dict({"name": "m", **fields}), folder / "1")


def test_a_layout_with_a_batch_turns_batching_on(tmp_path: Path) -> None:
    """max_batch_size 0 becomes 4, dynamic batching is turned on, and dims are without the batch."""
    model = openvino_models.matmul(WEIGHTS, batch=1, layout="NC")
    assert completion(model, tmp_path) == Completion(4, True, (X,), (Y,))


def test_without_a_layout_nothing_batches(tmp_path: Path) -> None:
    """As every model that was read from ONNX; the whole shape becomes dims."""
    expected = Completion(0, False, ({**X, "dims": [1, 3]},), ({**Y, "dims": [1, 2]},))
    assert completion(openvino_models.matmul(WEIGHTS, batch=1), tmp_path) == expected


def test_max_batch_size_and_scheduler_that_are_set_stay(tmp_path: Path) -> None:
    """What config.pbtxt says is kept."""
    model = openvino_models.matmul(WEIGHTS, batch=1, layout="NC")
    kept = completion(model, tmp_path, max_batch_size=16, sequence_batching={}, input=[X])
    assert kept == Completion(16, False, (), (Y,))


def test_a_shape_that_is_dynamic_in_part_is_not_completed(tmp_path: Path) -> None:
    """The container completes it with -1 everywhere and then refuses it; the message has the line to write."""
    with pytest.raises(ModelLoadError, match=r'input \[ { name: "x" data_type: … dims: \[-1, 3\] } \]'):
        completion(openvino_models.matmul(WEIGHTS), tmp_path)


def test_a_complete_configuration_waits_for_nothing() -> None:
    """The model is not read where it could add nothing."""
    assert not needs_completion(config(dynamic_batching={}))
    assert needs_completion(config())
    assert needs_completion(config(max_batch_size=0, dynamic_batching={}))


def test_onnx_is_read_by_its_name(tmp_path: Path) -> None:
    """default_model_filename chooses the reader."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(onnx_models.matmul(WEIGHTS).SerializeToString())
    model = load(config(default_model_filename="model.onnx"), tmp_path / "1", Placement("CPU"))
    assert model.runtime.description.startswith("1/model.onnx in openvino ")
