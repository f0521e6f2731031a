"""What the readers tell of real artefacts, held against the runtimes that serve them."""

from __future__ import annotations

import json
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from modelyard_build.repository.lint.artefacts import Artefact, read_artefact
from modelyard_build.repository.lint.artefacts.artefact import TensorInfo
from support import lint_artefacts, onnx_models, openvino_models, torch_models
from support.candidates import build, pooler_alone

EVERY_MODEL = (
    onnx_models.identity_of_every_type,
    onnx_models.lookup,
    onnx_models.scalar_scale,
    onnx_models.row_sums,
    onnx_models.overridable_offset,
    onnx_models.sequence_echo,
    onnx_models.slow,
    onnx_models.encoder,
)
RECORD = {
    "library": "tensorrt",
    "version": "10.13.3.9",
    "compute_capabilities": ["9.0"],
    "bindings": [
        {"name": "x", "mode": "input", "dtype": "INT64", "dims": [-1, 4]},
        {"name": "y", "mode": "output", "dtype": "FP8", "dims": [-1, 4]},
    ],
    "profiles": [{"x": {"min": [1, 4], "opt": [8, 4], "max": [32, 4]}}],
}


def manifest_of(record: Any, filename: str = "model.plan") -> dict[str, Any]:
    """A manifest that tells of one engine."""
    return {"candidates": {"tensorrt-fp16": {"files": [filename], "artefact": record}}}


def read_onnx(built: onnx.ModelProto, folder: Path) -> Artefact:
    """Writes a model and reads it."""
    onnx.save(built, folder / "model.onnx")
    return read_artefact(folder / "model.onnx", "onnxruntime", {})


def as_onnxruntime_has_it(nodes: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a session's inputs or outputs."""
    return [(node.name, tuple(size if isinstance(size, int) else -1 for size in node.shape)) for node in nodes]


def names_and_shapes(tensors: tuple[TensorInfo, ...] | None) -> list[tuple[str, tuple[int, ...] | None]]:
    """The same of what a reader told."""
    return [(tensor.name, tensor.shape) for tensor in tensors or ()]


@pytest.mark.parametrize("make", EVERY_MODEL, ids=lambda make: make.__name__)
def test_an_onnx_signature_is_that_of_the_session(make: Any, tmp_path: Path) -> None:
    """Inputs, those with a default apart, and outputs: as ONNX Runtime has them."""
    built = make()
    found = read_onnx(built, tmp_path)
    session = onnxruntime.InferenceSession(built.SerializeToString())
    needed = [tensor for tensor in found.inputs or () if tensor.name not in found.optional_inputs]
    assert names_and_shapes(tuple(needed)) == as_onnxruntime_has_it(session.get_inputs())
    assert names_and_shapes(found.outputs) == as_onnxruntime_has_it(session.get_outputs())
    assert found.optional_inputs == {node.name for node in session.get_overridable_initializers()}


def test_every_element_type_has_tritons_name(tmp_path: Path) -> None:
    """in_FP32 is TYPE_FP32, and so on."""
    found = read_onnx(onnx_models.identity_of_every_type(), tmp_path)
    assert [tensor.dtype for tensor in found.inputs or ()] == [f"TYPE_{name}" for name in onnx_models.ELEMENT_TYPES]


def test_before_ir_version_4_an_initializer_is_no_input(tmp_path: Path) -> None:
    """It had to be listed among the inputs, and ONNX Runtime does not take it as one."""
    built = onnx_models.overridable_offset()
    built.ir_version = 3
    found = read_onnx(built, tmp_path)
    session = onnxruntime.InferenceSession(built.SerializeToString())
    assert [tensor.name for tensor in found.inputs or ()] == [node.name for node in session.get_inputs()] == ["x"]
    assert found.optional_inputs == {node.name for node in session.get_overridable_initializers()} == frozenset()


def test_versions_and_operators_are_told(tmp_path: Path) -> None:
    """IR version, opset, and the operators of each domain, those within a Loop's body too."""
    found = read_onnx(onnx_models.slow(), tmp_path)
    assert found.details["ir_version"] == onnx_models.IR_VERSION
    assert found.details["opsets"] == {"": onnx_models.OPSET}
    assert found.details["operators"] == {
        "": {"ReduceMax", "Loop", "Cast", "Shape", "Mul", "Add", "Identity", "MatMul"}
    }


def test_a_function_of_the_file_is_no_operator_of_a_library(tmp_path: Path) -> None:
    """Its domain stands among the functions."""
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    built = onnx_models.identity(TensorProto.FLOAT)
    built.graph.node[0].CopyFrom(helper.make_node("Twice", ["x"], ["y"], domain="local"))
    built.functions.append(function)
    built.opset_import.append(helper.make_opsetid("local", 1))
    found = read_onnx(built, tmp_path)
    assert found.details["operators"] == {"local": {"Twice"}}
    assert found.details["function_domains"] == {"local"}


@pytest.mark.parametrize("folder", ["1", "1/model.onnx"])
def test_weights_elsewhere_are_measured(folder: str, tmp_path: Path) -> None:
    """How much of which file is needed, and how much is there; with the model in a folder of its name too."""
    onnx_models.save_with_external_data(onnx_models.matmul(np.ones((3, 2))), tmp_path / folder)
    found = read_artefact(tmp_path / "1" / "model.onnx", "onnxruntime", {})
    (file,) = found.details["external_files"]
    assert (file.location, file.end, file.size, file.outside) == ("weights.bin", 24, 24, False)


@pytest.mark.parametrize("location", ["../weights.bin", "/tmp/weights.bin", "a/../../weights.bin", "..", ""])
def test_weights_outside_are_told_and_not_looked_at(location: str, tmp_path: Path) -> None:
    """Whatever the way out."""
    built = onnx_models.matmul(np.ones((3, 2)))
    weights = built.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    (file,) = read_onnx_bytes(built, tmp_path).details["external_files"]
    assert (file.outside, file.size) == (True, None)


def read_onnx_bytes(built: onnx.ModelProto, folder: Path) -> Artefact:
    """As `read_onnx`, without onnx looking at the weights."""
    (folder / "model.onnx").write_bytes(built.SerializeToString())
    return read_artefact(folder / "model.onnx", "onnxruntime", {})


def test_weights_without_a_length_need_what_their_shape_does(tmp_path: Path) -> None:
    """From the offset on."""
    built = onnx_models.matmul(np.ones((3, 2)))
    weights = built.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w"), ("offset", "4096")):
        weights.external_data.add(key=key, value=value)
    (file,) = read_onnx_bytes(built, tmp_path).details["external_files"]
    assert (file.end, file.size) == (4096 + 24, None)


def test_weights_are_stepped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 MB less than 1 is read."""
    built = onnx_models.matmul(np.ones((4096, 4096)))
    onnx.save(built, tmp_path / "model.onnx")
    read = 0
    pread = os.pread

    def counting(descriptor: int, size: int, position: int) -> bytes:
        nonlocal read
        data = pread(descriptor, size, position)
        read += len(data)
        return data

    monkeypatch.setattr("modelyard_build.repository.lint.artefacts.window.os.pread", counting)
    assert read_artefact(tmp_path / "model.onnx", "onnxruntime", {}).problem == ""
    assert 0 < read < 1 << 20


def test_an_end_that_is_no_tensor_is_told(tmp_path: Path) -> None:
    """A list of tensors, as scikit-learn's classifiers have."""
    lint_artefacts.onnx_sequence(tmp_path / "model.onnx", "")
    found = read_artefact(tmp_path / "model.onnx", "onnxruntime", {})
    assert found.details["kinds"] == {"list": "sequence"}


def test_sizes_in_one_field_are_read(tmp_path: Path) -> None:
    """Protobuf reads a repeated number in both forms, so `dims` may be packed."""
    weights = TensorProto(data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="w")
    packed = weights.SerializeToString() + bytes([1 << 3 | 2, 3, 0x80, 0x08, 3])
    assert list(TensorProto.FromString(packed).dims) == [1024, 3]
    graph = bytes([5 << 3 | 2, len(packed)]) + packed
    opset = bytes([8 << 3 | 2, 2, 2 << 3, 18])
    (tmp_path / "model.onnx").write_bytes(opset + bytes([7 << 3 | 2, len(graph)]) + graph)
    (file,) = read_artefact(tmp_path / "model.onnx", "onnxruntime", {}).details["external_files"]
    assert file.end == 1024 * 3 * 4


def test_a_plan_is_what_its_manifest_says(tmp_path: Path) -> None:
    """Bindings and profiles; a type that Triton does not have is left open."""
    (tmp_path / "model.plan").write_bytes(b"an engine")
    found = read_artefact(tmp_path / "model.plan", "tensorrt", manifest_of(RECORD))
    assert found.inputs == (TensorInfo("x", "TYPE_INT64", (-1, 4)),)
    assert found.outputs == (TensorInfo("y", "", (-1, 4)),)
    assert found.details["profiles"] == ({"x": ((1, 4), (32, 4))},)
    assert found.details["record"] == RECORD


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed (extra tensorrt-rtx)")
def test_a_real_manifest_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the build publishes one, beside the engine that it made."""
    monkeypatch.setenv("MODELYARD_DEVICE", "cpu")
    with pooler_alone(tmp_path / "cache"):
        build(tmp_path / "repository", "tensorrt_rtx-fp16")
    folder = tmp_path / "repository" / "pooler" / "1"
    manifest = json.loads((folder / "manifest.json").read_text())
    found = read_artefact(folder / "model.fp16.rtx.plan", "tensorrt_rtx", manifest)
    assert found.inputs == tuple(TensorInfo(name, "TYPE_INT64", (-1, -1)) for name in ("input_ids", "attention_mask"))
    assert found.outputs == (TensorInfo("scores", "TYPE_FP32", (-1, 5)),)
    assert found.details["profiles"] == (dict.fromkeys(("input_ids", "attention_mask"), ((1, 2), (16, 24))),)


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [({}, "there is no manifest.json"), (manifest_of(RECORD, "other.plan"), "does not tell of it")],
)
def test_a_plan_without_record_is_a_problem(manifest: dict[str, Any], problem: str, tmp_path: Path) -> None:
    """No manifest, or one of other files."""
    (tmp_path / "model.plan").write_bytes(b"an engine")
    found = read_artefact(tmp_path / "model.plan", "tensorrt", manifest)
    assert problem in found.problem
    assert not found.broken


@pytest.mark.parametrize(
    ("module", "arguments", "returns"),
    [
        (torch_models.Pair, [("x", "Tensor")], "Tuple[Tensor, Tensor]"),
        (torch_models.Scale, [("x", "Tensor"), ("factor", "Tensor")], "Tensor"),
        (torch_models.FromDict, [("tensors", "Dict[str, Tensor]")], "Tensor"),
        (torch_models.Shout, [("texts", "List[str]")], "Tuple[List[str], Tensor]"),
        (torch_models.ToDict, [("x", "Tensor")], "Dict[str, Tensor]"),
        (torch_models.Slow, [("steps", "Tensor")], "Tensor"),
    ],
)
def test_torchscript_tells_its_forward(
    module: type[nn.Module], arguments: list[tuple[str, str]], returns: str, tmp_path: Path
) -> None:
    """Names and types, out of the code in the archive."""
    torch_models.save_script(module(), tmp_path / "model.pt")
    found = read_artefact(tmp_path / "model.pt", "pytorch", {})
    assert found.details == {"kind": "TorchScript", "arguments": tuple(arguments), "returns": returns}


class Outer(nn.Module):
    """A module with a forward of its own inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch_models.Scale()

    def forward(self, data: Tensor) -> Tensor:
        """Scaled by itself."""
        scaled: Tensor = self.inner(data, data)
        return scaled


def test_a_traced_module_tells_the_outer_forward(tmp_path: Path) -> None:
    """Not that of a module within."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(Outer(), (torch.ones(2, 2),))  # type: ignore[no-untyped-call]
        traced.save(str(tmp_path / "model.pt"))
    assert read_artefact(tmp_path / "model.pt", "pytorch", {}).details["arguments"] == (("data", "Tensor"),)


def test_what_is_no_torchscript_is_told_apart(tmp_path: Path) -> None:
    """Weights alone, an exported program, and a file that is no archive at all."""
    lint_artefacts.torch_saved(tmp_path / "saved.pt", "Lookup")
    lint_artefacts.exported_program(tmp_path / "program.pt2", "Scale")
    torch.save({}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_artefact(tmp_path / "saved.pt", "pytorch", {}).details == {"kind": "torch.save"}
    assert read_artefact(tmp_path / "program.pt2", "pytorch", {}).details == {"kind": "torch.export"}
    assert read_artefact(tmp_path / "old.pt", "pytorch", {}).broken


@pytest.mark.parametrize(
    "make",
    [
        lambda: openvino_models.matmul(np.ones((3, 2))),
        lambda: openvino_models.identity(np.int64),
        openvino_models.pair,
        openvino_models.convolution,
    ],
)
def test_an_openvino_signature_is_that_of_the_model(make: Any, tmp_path: Path) -> None:
    """Names, shapes and types, as OpenVINO has them; and how much of the .bin is needed."""
    import openvino

    openvino.save_model(make(), tmp_path / "model.xml", compress_to_fp16=False)
    found = read_artefact(tmp_path / "model.xml", "openvino", {})
    model = openvino.Core().read_model(tmp_path / "model.xml")
    for tensors, ports in ((found.inputs, model.inputs), (found.outputs, model.outputs)):
        assert [(tensor.name, tensor.shape) for tensor in tensors or ()] == [
            (port.get_any_name(), tuple(each.get_length() if each.is_static else -1 for each in port.partial_shape))
            for port in ports
        ]
    assert found.details["weights_needed"] <= found.details["weights_size"]


def test_openvino_takes_the_first_name_of_the_alphabet(tmp_path: Path) -> None:
    """A tensor of several names goes by each; OpenVINO says one."""
    import openvino

    built = openvino_models.pair()
    built.inputs[0].tensor.set_names({"b", "a,1", "c"})
    openvino.save_model(built, tmp_path / "model.xml")
    found = read_artefact(tmp_path / "model.xml", "openvino", {})
    (x,) = found.inputs or ()
    model = openvino.Core().read_model(tmp_path / "model.xml")
    assert x.name == model.inputs[0].get_any_name()
    assert found.details["aliases"][x.name] == model.inputs[0].get_names() == {"b", "a,1", "c"}


def test_outputs_are_named_by_edges_where_results_have_no_names(tmp_path: Path) -> None:
    """Files of before 2025 name the port that a result is fed from."""
    import openvino

    openvino.save_model(openvino_models.pair(), tmp_path / "model.xml")
    text = (tmp_path / "model.xml").read_text()
    for name in ("doubled", "negated"):
        text = text.replace(f' output_names="{name}"', "")
    (tmp_path / "model.xml").write_text(text)
    found = read_artefact(tmp_path / "model.xml", "openvino", {})
    model = openvino.Core().read_model(tmp_path / "model.xml")
    assert [tensor.name for tensor in found.outputs or ()] == [port.get_any_name() for port in model.outputs]


def test_openvino_serves_onnx_too(tmp_path: Path) -> None:
    """The header is the same."""
    onnx.save(onnx_models.lookup(), tmp_path / "model.onnx")
    found = read_artefact(tmp_path / "model.onnx", "openvino", {})
    assert [tensor.name for tensor in found.inputs or ()] == ["index"]


MODEL_PY = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"


@pytest.mark.parametrize(
    ("text", "faults", "line", "completes"),
    [
        (MODEL_PY, [], 0, False),
        (MODEL_PY + "    @staticmethod\n    def auto_complete_config(config):\n        return config\n", [], 0, True),
        ("x = = 1\n", ["no Python: invalid syntax"], 0, False),
        ("import numpy\n", ["there is no class TritonPythonModel"], 0, False),
        ("from implementation import *\n", [], 0, True),
        ("from implementation import TritonPythonModel\n", [], 0, True),
        ("\nclass TritonPythonModel:\n    pass\n", [], 2, False),
        ("class TritonPythonModel:\n    execute = print\n", [], 0, False),
        ("class TritonPythonModel(Base):\n    pass\n", [], 0, True),
        ("@decorated\nclass TritonPythonModel:\n    pass\n", [], 0, True),
        ("class TritonPythonModel:\n    pass\nsetattr(TritonPythonModel, 'execute', print)\n", [], 0, True),
    ],
)
def test_model_py_is_told_by_its_tree(text: str, faults: list[str], line: int, completes: bool, tmp_path: Path) -> None:
    """Only what is sure is a fault: a class or method may come from elsewhere."""
    (tmp_path / "model.py").write_text(text)
    found = read_artefact(tmp_path / "model.py", "python", {})
    assert [fault for _, fault in found.details["faults"]] == faults
    assert found.details["without_execute"] == line
    assert found.details["completes"] is completes


def test_a_backend_that_is_not_known_is_not_read(tmp_path: Path) -> None:
    """Nothing is said of its files."""
    found = read_artefact(tmp_path / "model.bin", "custom", {})
    assert found.problem
    assert not found.broken


def test_numpy_helper_tensors_in_attributes_are_seen(tmp_path: Path) -> None:
    """A Constant may keep its weights outside, too."""
    value = numpy_helper.from_array(np.ones((2, 2), np.float32))
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="constant.bin")
    built = onnx_models.identity(TensorProto.FLOAT)
    built.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))
    (file,) = read_onnx_bytes(built, tmp_path).details["external_files"]
    assert (file.location, file.end) == ("constant.bin", 16)
