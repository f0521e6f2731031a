"""int8 in the ONNX graph: close on rows it never saw, in the form that every runtime reads, the same on every run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from modelyard_build import model as declare
from modelyard_build.model import Array, Arrays
from modelyard_build.precision import convert
from modelyard_build.precision.casting import emulated, value_types
from modelyard_build.precision.converted import Converted
from modelyard_build.precision.errors import PrecisionFailed
from modelyard_build.precision.sessions import Session
from modelyard_build.quality import QUANTISED
from modelyard_build.similarity import min_cosine
from support.precision_models import (
    BLOCK,
    CONVNET,
    WIDTH,
    Lines,
    exported,
    graph_of,
    images,
    source,
    tokens,
    vector_model,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("int8")


@pytest.fixture(scope="module")
def block(folder: Path) -> Converted:
    path = exported(BLOCK, folder)
    return convert("int8", path, source(BLOCK, path), QUANTISED)


def unseen(sequence: int) -> Arrays:
    """Rows of another seed, every second one half padding."""
    arrays = tokens(9)({}, 16, {"sequence": sequence})
    arrays["attention_mask"][1::2, max(2, sequence // 2) :] = 0
    return arrays


@pytest.mark.parametrize("sequence", [2, 7, 24])
def test_unseen_rows_stay_within_the_quality(block: Converted, folder: Path, sequence: int) -> None:
    """The worst row of inputs that gave no range, padded ones too, keeps the cosine that is asked for."""
    expected = Session(onnx.load(folder / "block.onnx"))(unseen(sequence))
    answer = Session(block.proto)(unseen(sequence))
    assert min_cosine(expected["embedding"], answer["embedding"]) >= QUANTISED.min_cosine
    assert not np.array_equal(expected["embedding"], answer["embedding"])


def test_every_runtime_gives_the_same_answers(block: Converted, folder: Path) -> None:
    """ONNX Runtime with its int8 kernels and OpenVINO agree with the graph as written."""
    pytest.importorskip("openvino")
    from modelyard_build.openvino_core import core

    path = folder / "int8.onnx"
    onnx.save(block.proto, path)
    inputs = unseen(24)
    expected = Session(block.proto)(inputs)["embedding"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert min_cosine(expected, session.run(None, inputs)[0]) > 0.999
    compiled = core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert min_cosine(expected, compiled(inputs)[0]) > 0.999


def test_the_form_is_one_that_tensorrt_takes(block: Converted) -> None:
    """Zero points are 0, an activation has one scale, a weight one for each output channel."""
    onnx.checker.check_model(block.proto, full_check=True)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in block.proto.graph.initializer}
    linear = [node for node in block.proto.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert not any(constants[node.input[2]].any() for node in linear)
    stored = {node.name: constants[node.input[0]] for node in linear if node.input[0] in constants}
    # Query, key and value are one product now.
    assert len(stored) == block.report["quantised_nodes"] - 2
    assert {array.dtype for array in stored.values()} == {np.dtype(np.int8)}
    for node in linear:
        scales = constants[node.input[1]].shape
        assert scales == ((stored[node.name].shape[1],) if node.name in stored else ())
    kinds = {value.name: value.type.tensor_type.elem_type for value in block.proto.graph.input}
    assert set(kinds.values()) == {onnx.TensorProto.INT64}


def test_weights_of_kept_nodes_only_are_float(block: Converted) -> None:
    """Nothing is stored twice: no float32 matrix is left but those of nodes that the report names."""
    matrices = [
        tensor.name
        for tensor in block.proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and list(tensor.dims) == [WIDTH, WIDTH]
    ]
    assert len(matrices) <= len(block.report["kept_nodes"])


def test_a_convnet_is_quantised(folder: Path) -> None:
    """Convolutions, grouped ones and a Gemm: all sites found, the worst unseen image within the quality."""
    path = exported(CONVNET, folder)
    converted = convert("int8", path, source(CONVNET, path), QUANTISED)
    inputs = images(9)({}, 32, {})
    expected, answer = (Session(proto)(inputs)["scores"] for proto in (onnx.load(path), converted.proto))
    assert min_cosine(expected, answer) >= QUANTISED.min_cosine
    assert converted.report["quantised_nodes"] + len(converted.report["kept_nodes"]) == 3


def test_what_a_relu_gives_is_unsigned_on_a_cpu(folder: Path) -> None:
    """Twice the steps for what is never negative, in the graph for CPUs alone: TensorRT takes no uint8."""
    path = exported(CONVNET, folder)
    types = {
        precision: [
            tensor.data_type
            for tensor in convert(precision, path, source(CONVNET, path), QUANTISED).proto.graph.initializer
            if tensor.name.endswith("zero_point") and not tensor.dims
        ]
        for precision in ("int8", "int8-fp16")
    }
    # The image itself has negative values; the grouped convolution reads a ReLU, and the head its mean.
    assert sorted(types["int8"]) == [onnx.TensorProto.UINT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT8]
    assert set(types["int8-fp16"]) == {onnx.TensorProto.INT8}


def cancelling() -> tuple[declare.Model, onnx.ModelProto]:
    """One layer whose answer is the small difference of large numbers, between two harmless ones."""
    generator = np.random.default_rng(5)
    # Rotations: no direction is worse than another.
    spread, mix, last = (np.linalg.qr(generator.normal(size=(8, 8)))[0].astype(np.float32) for _ in range(3))
    nodes = [
        helper.make_node("MatMul", ["x", "spread"], ["a"], name="harmless"),
        helper.make_node("Add", ["a", "large"], ["b"], name="lift"),
        helper.make_node("MatMul", ["b", "mix"], ["c"], name="cancelling"),
        helper.make_node("Sub", ["c", "lifted"], ["d"], name="lower"),
        helper.make_node("MatMul", ["d", "last"], ["y"], name="harmless_too"),
    ]
    large = np.full(8, 300, np.float32)
    constants = {"spread": spread, "mix": mix, "last": last, "large": large, "lifted": large @ mix}
    return vector_model("cancelling", unit_rows), graph_of(nodes, constants)


def unit_rows(count: int) -> Array:
    """Vectors of one length: none is small beside the range of all."""
    rows = np.random.default_rng(count).normal(size=(count, 8))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_the_node_that_costs_the_accuracy_is_found_and_kept(tmp_path: Path) -> None:
    """Of three layers the one that int8 ruins stays in float32; the search is shown, and the cost told."""
    model, proto = cancelling()
    path, progress = tmp_path / "model.onnx", Lines()
    onnx.save(proto, path)
    converted = convert("int8", path, source(model, path, progress), QUANTISED)
    assert list(converted.report["kept_nodes"]) == ["cancelling"]
    assert converted.report["share_of_multiply_adds_kept"] == pytest.approx(1 / 3, abs=1e-4)
    assert [step["kept_places"] for step in converted.report["search"]] == [0, 1]
    assert converted.report["search"][0]["error_of_allowed"] > 1
    assert any("int8 with 1 of 3 places in float32" in line for line in progress.said)


def test_a_graph_that_cannot_be_int8_is_refused(tmp_path: Path) -> None:
    """Where every site must stay in float32 the refusal says so, and nothing is made."""
    model, proto = cancelling()
    del proto.graph.node[4], proto.graph.node[0]
    proto.graph.node[0].input[0] = "x"
    proto.graph.node[2].output[0] = "y"
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    with pytest.raises(PrecisionFailed, match="only when everything stays in float32"):
        convert("int8", path, source(model, path), QUANTISED)


def test_a_graph_without_weights_is_refused(tmp_path: Path) -> None:
    """No layer with constant weights: int8 would gain nothing, in words."""
    model, _ = cancelling()
    path = tmp_path / "model.onnx"
    onnx.save(graph_of([helper.make_node("Relu", ["x"], ["y"])], {}), path)
    with pytest.raises(PrecisionFailed, match="no MatMul, Gemm or Conv with constant float32 weights"):
        convert("int8", path, source(model, path), QUANTISED)


def test_an_unknown_precision_is_refused(folder: Path) -> None:
    """The message lists what is known."""
    with pytest.raises(PrecisionFailed, match="'int3' is not known; known are fp16, bf16, int8, int8-fp16, fp8"):
        convert("int3", folder, source(BLOCK, folder), QUANTISED)


SCRIPT = """
import hashlib, sys
from pathlib import Path
from modelyard_build.precision import convert
from modelyard_build.quality import NEAR_HALF, QUANTISED
from support.precision_models import BLOCK, source
for precision, quality in (("int8", QUANTISED), ("fp16", NEAR_HALF)):
    path = Path(sys.argv[1])
    converted = convert(precision, path, source(BLOCK, path), quality)
    print(hashlib.sha256(converted.proto.SerializeToString()).hexdigest(), converted.report)
"""


def test_two_processes_write_the_same_bytes(folder: Path) -> None:
    """int8 and float16 graphs and their reports are byte-identical from run to run."""
    path = exported(BLOCK, folder)
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path)],
            check=True,
            capture_output=True,
            env={"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].splitlines()) == 2


def test_a_low_opset_is_refused(tmp_path: Path) -> None:
    """fp8 is a type of opset 19; an older graph is told what to do."""
    model, proto = cancelling()
    path = tmp_path / "model.onnx"
    onnx.save(onnx.version_converter.convert_version(proto, 17), path)
    with pytest.raises(PrecisionFailed, match="opset 17; fp8 needs 19"):
        convert("fp8", path, source(replace(model), path), QUANTISED)


def test_fp8_is_stored_and_computed(folder: Path) -> None:
    """E4M3 weights and activations: valid ONNX, unsmoothed, within a quality for three bits on unseen rows."""
    path, quality = exported(BLOCK, folder), replace(QUANTISED, min_cosine=0.98)
    made = convert("fp8", path, source(BLOCK, path), quality)
    onnx.checker.check_model(made.proto, full_check=True)
    dtypes = [tensor.data_type for tensor in made.proto.graph.initializer if list(tensor.dims) == [WIDTH, WIDTH * 4]]
    assert dtypes == [onnx.TensorProto.FLOAT8E4M3FN]
    assert made.report["smoothed_places"] == 0
    expected, answer = (Session(graph)(unseen(24))["embedding"] for graph in (onnx.load(path), emulated(made.proto)))
    assert min_cosine(expected, answer) >= 0.98


def test_for_a_gpu_the_rest_is_float16(block: Converted, folder: Path) -> None:
    """int8-fp16: the same int8 products, scales and everything between them in float16; within the quality still."""
    path = folder / "block.onnx"
    made = convert("int8-fp16", path, source(BLOCK, path), QUANTISED)
    onnx.checker.check_model(made.proto, full_check=True)
    types = value_types(made.proto)
    read = {types[name] for node in made.proto.graph.node if node.op_type == "MatMul" for name in node.input}
    assert read == {ir.DataType.FLOAT16}
    assert made.report["quantised_nodes"] == block.report["quantised_nodes"]
    assert made.report["rest"]["cast_nodes"] > len(made.report["rest"]["kept_nodes"])
    expected, answer = (Session(graph)(unseen(24))["embedding"] for graph in (onnx.load(path), emulated(made.proto)))
    assert min_cosine(expected, answer) >= QUANTISED.min_cosine
