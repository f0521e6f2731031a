"""What a graph offers to fuse, what a runtime really fused, and the rewriting that lets it fuse more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from modelyard_build.errors import ArtefactFailed
from modelyard_build.fusion import patterns, report
from modelyard_build.fusion.merging import merge_products
from modelyard_build.precision import convert
from modelyard_build.precision.sessions import Session
from modelyard_build.precision.sites import name_nodes
from modelyard_build.quality import QUANTISED
from support.precision_models import BLOCK, CONVNET, exported, graph_of, source, tokens


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(BLOCK, tmp_path_factory.mktemp("block"))


def batch_norm_graph(path: Path) -> Path:
    """Conv, BatchNormalization, Relu, from an image to an image."""
    generator = np.random.default_rng(8)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("BatchNormalization", ["a", "scale", "bias", "mean", "variance"], ["b"], name="norm"),
        helper.make_node("Relu", ["b"], ["y"], name="relu"),
    ]
    shape: list[str | int | None] = ["batch", 3, 8, 8]
    channels = {name: generator.uniform(0.5, 2, 4) for name in ("scale", "bias", "mean", "variance")}
    constants = {"w": generator.normal(size=(4, 3, 3, 3)), **channels}
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_patterns_are_counted_in_the_graph(block: Path, tmp_path: Path) -> None:
    """Attention with its mask, sums before norms, biases before Gelu, convolutions with norm and activation."""
    counts = {name: len(found) for name, found in patterns.found(ir.load(block)).items()}
    assert counts == {"attention": 1, "skip_layer_norm": 2, "bias_gelu": 1}
    convnet = patterns.found(ir.load(exported(CONVNET, tmp_path)))
    assert {name: len(found) for name, found in convnet.items()} == {"conv_activation": 2}
    normed = patterns.found(ir.load(batch_norm_graph(tmp_path / "norm.onnx")))
    assert normed == {"conv_batch_norm": [("norm", "conv")], "conv_activation": [("relu", "conv")]}


def test_a_softmax_without_products_is_no_attention() -> None:
    """A classifier's softmax of a product with weights is none."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])]
    graph = graph_of(nodes, {"w": np.eye(8, dtype=np.float32)})
    assert patterns.found(ir.from_proto(graph)) == {}


def test_onnxruntime_tells_what_it_did_not_fuse(block: Path) -> None:
    """The sums and the Gelu are fused; attention is not, and the report says so and why."""
    found = report("onnxruntime", block, block)
    assert found["expected"] == {"attention": 1, "skip_layer_norm": 2, "bias_gelu": 1}
    assert found["done"]["bias_gelu"] == 1
    assert found["operators"]["BiasGelu"] == 1
    missing = "; ".join(found["missing"])
    assert ("attention: 0 of 1; ONNX Runtime knows attention in the form" in missing) == (
        found["done"]["attention"] == 0
    )
    assert "bias_gelu" not in missing
    assert json.loads(json.dumps(found)) == found


def test_openvino_fuses_attention_and_gelu(block: Path) -> None:
    """The executed layers hold the nodes of both patterns; the precision of the products is told."""
    pytest.importorskip("openvino")
    found = report("openvino", block, block, {"INFERENCE_PRECISION_HINT": "f32"})
    assert found["expected"] == found["done"] == {"attention": 1, "bias_gelu": 1}
    assert found["missing"] == []
    assert found["layers"]["FullyConnected f32"] == 6


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_convolutions_take_their_norm_and_activation(target: str, tmp_path: Path) -> None:
    """Batch norm and Relu go into the convolution in both runtimes."""
    pytest.importorskip(target)
    path = batch_norm_graph(tmp_path / "norm.onnx")
    found = report(target, path, path)
    assert found["done"] == found["expected"] == {"conv_batch_norm": 1, "conv_activation": 1}


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_every_quantised_product_runs_in_int8(target: str, block: Path, tmp_path: Path) -> None:
    """The int8 graph of a transformer: each product that was quantised becomes an int8 kernel in both runtimes."""
    pytest.importorskip(target)
    path = tmp_path / "int8.onnx"
    onnx.save(convert("int8", block, source(BLOCK, block), QUANTISED).proto, path)
    found = report(target, path, path)
    assert found["done"]["quantised_product"] == found["expected"]["quantised_product"] == 4


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_an_artefact_that_does_not_load_is_named(target: str, block: Path, tmp_path: Path) -> None:
    """A spoiled file is refused with its name, not with a traceback."""
    pytest.importorskip(target)
    (tmp_path / "spoiled.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtefactFailed, match=r"does not load spoiled\.onnx"):
        report(target, tmp_path / "spoiled.onnx", block)


def merged(proto: onnx.ModelProto) -> tuple[int, onnx.ModelProto]:
    model = ir.from_proto(proto)
    name_nodes(model.graph)
    count = merge_products(model.graph)
    return count, ir.to_proto(model)


def test_merging_changes_no_number(block: Path) -> None:
    """Query, key and value become one product; the answers are the same but for rounding, and no old weight is left."""
    proto = onnx.load(block)
    count, made = merged(proto)
    onnx.checker.check_model(made, full_check=True)
    assert count == 2
    assert [node.op_type for node in made.graph.node].count("Split") == 1
    inputs = tokens(9)({}, 8, {"sequence": 12})
    expected, answer = (Session(graph)(inputs)["embedding"] for graph in (proto, made))
    np.testing.assert_allclose(answer, expected, atol=1e-6)
    assert sum(t.ByteSize() for t in made.graph.initializer) < sum(t.ByteSize() for t in proto.graph.initializer) + 500


def two_products() -> onnx.ModelProto:
    """Two products of `x`, each with its bias, added up."""
    generator = np.random.default_rng(2)
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["a"], name="left"),
        helper.make_node("Add", ["a", "p"], ["b"], name="left_bias"),
        helper.make_node("MatMul", ["x", "w"], ["c"], name="right"),
        helper.make_node("Add", ["q", "c"], ["d"], name="right_bias"),
        helper.make_node("Add", ["b", "d"], ["y"], name="sum"),
    ]
    constants = {
        name: generator.normal(size=shape) for name, shape in (("v", (8, 8)), ("w", (8, 8)), ("p", 8), ("q", 8))
    }
    return graph_of(nodes, {name: array.astype(np.float32) for name, array in constants.items()})


def reads_between(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Relu", ["a"], ["unbiased"], name="reader"))


def other_input(proto: onnx.ModelProto) -> None:
    proto.graph.node.insert(0, helper.make_node("Relu", ["x"], ["positive"], name="relu"))
    proto.graph.node[3].input[0] = "positive"


def computed_bias(proto: onnx.ModelProto) -> None:
    proto.graph.node.insert(0, helper.make_node("Relu", ["q"], ["computed"], name="relu"))
    proto.graph.node[4].input[0] = "computed"


def wide_bias(proto: onnx.ModelProto) -> None:
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "q")
    bias.CopyFrom(numpy_helper.from_array(np.ones((1, 8), np.float32), "q"))


def test_two_products_become_one() -> None:
    """The bias may stand on either side of its sum."""
    proto = two_products()
    count, made = merged(proto)
    assert count == 1
    assert [node.name for node in made.graph.node if node.op_type == "MatMul"] == ["left+right"]
    inputs = {"x": np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)}
    np.testing.assert_allclose(Session(made)(inputs)["y"], Session(proto)(inputs)["y"], atol=1e-5)


@pytest.mark.parametrize("change", [reads_between, other_input, computed_bias, wide_bias])
def test_what_is_not_alike_stays_apart(change: Callable[[onnx.ModelProto], None]) -> None:
    """Another reader of a product, another input, a bias that is computed or not a vector: nothing is merged."""
    proto = two_products()
    change(proto)
    count, made = merged(proto)
    assert count == 0
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in proto.graph.node]
