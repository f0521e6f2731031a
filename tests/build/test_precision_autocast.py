"""float16 and bfloat16 graphs: what overflows or vanishes there is found on real inputs, and stays in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard_build.model import Array
from modelyard_build.precision import convert
from modelyard_build.precision.casting import emulated, value_types
from modelyard_build.precision.converted import Converted
from modelyard_build.precision.errors import PrecisionFailed
from modelyard_build.precision.sessions import Session
from modelyard_build.quality import NEAR, NEAR_HALF, Quality
from modelyard_build.similarity import min_cosine
from support.precision_models import BLOCK, exported, graph_of, source, tokens, vector_model

QUALITIES = {"fp16": NEAR_HALF, "bf16": NEAR}


def rows(batch: int) -> Array:
    return np.random.default_rng(batch).normal(size=(batch, 8))


def converted(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any],
    values: Callable[[int], Array] = rows,
    precision: str = "fp16",
    quality: Quality | None = None,
) -> tuple[onnx.ModelProto, Converted]:
    """A graph written by hand, and what becomes of it."""
    proto, path = graph_of(nodes, constants), folder / "model.onnx"
    onnx.save(proto, path)
    model = vector_model("by_hand", values)
    return proto, convert(precision, path, source(model, path), quality or QUALITIES[precision])


@pytest.fixture(scope="module", params=["fp16", "bf16"])
def block(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[onnx.ModelProto, Converted]:
    path = exported(BLOCK, tmp_path_factory.mktemp(request.param))
    return onnx.load(path), convert(request.param, path, source(BLOCK, path), QUALITIES[request.param])


def test_a_transformer_keeps_its_answers(block: tuple[onnx.ModelProto, Converted]) -> None:
    """Within the quality on rows of another seed, with inputs and outputs of the old types; most nodes are cast."""
    float32, made = block
    onnx.checker.check_model(made.proto, full_check=True)
    assert [(v.name, v.type) for v in made.proto.graph.output] == [(v.name, v.type) for v in float32.graph.output]
    inputs = tokens(9)({}, 16, {"sequence": 24})
    expected, answer = (Session(graph)(inputs)["embedding"] for graph in (float32, emulated(made.proto)))
    assert min_cosine(expected, answer) >= 0.9999
    assert not np.array_equal(expected, answer)
    assert made.report["cast_nodes"] > len(made.report["kept_nodes"])


def test_a_fully_padded_row_is_no_nan(block: tuple[onnx.ModelProto, Converted]) -> None:
    """The mask's float32 minimum became a number of the type; a row without any token is as finite as in float32."""
    float32, made = block
    assert any("became" in words for words in made.report["clamped_constants"].values())
    inputs = tokens(9)({}, 4, {"sequence": 24})
    inputs["attention_mask"][1] = 0
    expected, answer = (Session(graph)(inputs)["embedding"] for graph in (float32, emulated(made.proto)))
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer, expected, atol=0.01)


def test_onnxruntime_runs_float16(block: tuple[onnx.ModelProto, Converted]) -> None:
    """What the emulation says of float16 is what ONNX Runtime's own float16 answers."""
    _, made = block
    if made.report["precision"] == "fp16":
        inputs = tokens(9)({}, 8, {"sequence": 12})
        own, emulation = (Session(graph)(inputs)["embedding"] for graph in (made.proto, emulated(made.proto)))
        np.testing.assert_allclose(own, emulation, atol=2e-3)


def test_variance_that_overflows_stays_in_float32(tmp_path: Path) -> None:
    """A layer norm written out: the square of 600 is beyond float16, so what makes and reads it is kept."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axis"], ["mean"], name="mean"),
        helper.make_node("Sub", ["x", "mean"], ["centred"], name="centre"),
        helper.make_node("Mul", ["centred", "centred"], ["square"], name="square"),
        helper.make_node("ReduceMean", ["square", "axis"], ["variance"], name="variance"),
        helper.make_node("Add", ["variance", "epsilon"], ["safe"], name="epsilon"),
        helper.make_node("Sqrt", ["safe"], ["deviation"], name="root"),
        helper.make_node("Div", ["centred", "deviation"], ["y"], name="divide"),
    ]
    constants = {"axis": np.array([1]), "epsilon": np.float32(1e-3)}
    float32, made = converted(tmp_path, nodes, constants, lambda batch: rows(batch) * 600)
    assert made.report["kept_nodes"].keys() == {"square", "variance", "epsilon", "root"}
    assert made.report["kept_nodes"]["square"].startswith("Mul: square reaches ")
    inputs = {"x": (rows(77) * 600).astype(np.float32)}
    expected, answer = (Session(graph)(inputs)["y"] for graph in (float32, emulated(made.proto)))
    np.testing.assert_allclose(answer, expected, atol=5e-3)


def test_a_layer_norm_whose_squares_overflow_is_kept(tmp_path: Path) -> None:
    """The operator hides its variance: what it squares is looked at as well."""
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale"], ["normed"], name="norm"),
        helper.make_node("Tanh", ["normed"], ["y"], name="tanh"),
    ]
    scale = {"scale": np.ones(8, np.float32)}
    _, large = converted(tmp_path, nodes, scale, lambda batch: rows(batch) * 600)
    assert large.report["kept_nodes"].keys() == {"norm"}
    assert large.report["kept_nodes"]["norm"].startswith("LayerNormalization: the square of x reaches ")
    _, small = converted(tmp_path, nodes, scale)
    assert small.report["kept_nodes"] == {}


def test_logits_that_overflow_stay_in_float32(tmp_path: Path) -> None:
    """A product that reaches 10^6 before its softmax is kept, and the softmax that reads it."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["logits"], name="logits"),
        helper.make_node("Softmax", ["logits"], ["shares"], name="softmax"),
        helper.make_node("MatMul", ["shares", "mix"], ["y"], name="mix"),
    ]
    generator = np.random.default_rng(6)
    constants = {
        "weight": (np.eye(8) * 1e6).astype(np.float32),
        "mix": generator.normal(size=(8, 8)).astype(np.float32),
    }
    _, made = converted(tmp_path, nodes, constants)
    assert made.report["kept_nodes"].keys() == {"logits", "softmax"}
    assert made.report["kept_nodes"]["softmax"].startswith("Softmax: logits reaches ")


def test_a_large_constant_that_matters_is_not_clamped(tmp_path: Path) -> None:
    """A factor of 10^6 taken back later is no mask: clamping changes the answers, so its readers are kept instead."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["large"], name="up"),
        helper.make_node("Mul", ["large", "inverse"], ["small"], name="down"),
        helper.make_node("Relu", ["small"], ["y"], name="relu"),
    ]
    constants = {"factor": np.float32(1e6), "inverse": np.float32(1e-6)}
    float32, made = converted(tmp_path, nodes, constants)
    assert made.report["clamped_constants"] == {}
    assert made.report["kept_nodes"].keys() == {"up", "down"}
    inputs = {"x": rows(77).astype(np.float32)}
    expected, answer = (Session(graph)(inputs)["y"] for graph in (float32, emulated(made.proto)))
    np.testing.assert_allclose(answer, expected, rtol=2e-3, atol=1e-6)


def test_a_tiny_epsilon_is_kept_down_to_the_division(tmp_path: Path) -> None:
    """1e-12 is zero in float16: what adds it, the root and the division stay; a row of zeros gives zeros."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], name="sum"),
        helper.make_node("Abs", ["sum"], ["size"], name="size"),
        helper.make_node("Add", ["size", "epsilon"], ["safe"], name="add"),
        helper.make_node("Sqrt", ["safe"], ["root"], name="root"),
        helper.make_node("Div", ["x", "root"], ["y"], name="divide"),
    ]
    _, made = converted(tmp_path, nodes, {"axis": np.array([1]), "epsilon": np.float32(1e-12)})
    assert set(made.report["kept_nodes"]) == {"add", "root", "divide"}
    assert made.report["kept_nodes"]["divide"] == "needs 'epsilon': 1e-12"
    np.testing.assert_array_equal(Session(emulated(made.proto))({"x": np.zeros((1, 8), np.float32)})["y"], 0)


def test_an_infinite_mask_stays_infinite(tmp_path: Path) -> None:
    """Minus infinity is a value of every type: it is neither clamped nor counted as an overflow."""
    nodes = [
        helper.make_node("Less", ["x", "zero"], ["negative"], name="less"),
        helper.make_node("Where", ["negative", "lowest", "x"], ["masked"], name="mask"),
        helper.make_node("Softmax", ["masked"], ["y"], name="softmax"),
    ]
    constants = {"zero": np.float32(0), "lowest": np.float32(-np.inf)}
    _, made = converted(tmp_path, nodes, constants, lambda batch: np.abs(rows(batch)) - 0.1)
    assert made.report["clamped_constants"] == {}
    assert "mask" not in made.report["kept_nodes"]


def test_bfloat16_keeps_the_range(tmp_path: Path) -> None:
    """Squares of 600 are no matter in bfloat16: nothing is kept for their size."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"], name="square"),
        helper.make_node("Sqrt", ["square"], ["y"]),
    ]
    _, made = converted(tmp_path, nodes, {}, lambda batch: rows(batch) * 600, "bf16")
    assert made.report["kept_nodes"] == {}
    types = value_types(made.proto)
    assert types["square"].name == "BFLOAT16"


def test_nodes_that_cost_accuracy_are_kept(tmp_path: Path) -> None:
    """The small difference of large numbers survives in float32 only: bisection finds and reports the nodes."""
    nodes = [
        helper.make_node("Add", ["x", "large"], ["lifted"], name="lift"),
        helper.make_node("Sub", ["lifted", "large"], ["lowered"], name="lower"),
        helper.make_node("MatMul", ["lowered", "weight"], ["y"], name="product"),
    ]
    weight = np.linalg.qr(rows(8))[0].astype(np.float32)
    _, made = converted(tmp_path, nodes, {"large": np.full(8, 3000, np.float32), "weight": weight})
    assert made.report["kept_nodes"] == {"lift": "costs accuracy", "lower": "costs accuracy"}
    assert made.report["share_of_products_kept"] == 0
    assert made.report["search"][0]["error_of_allowed"] > 1 > made.report["search"][-1]["error_of_allowed"]


def test_a_graph_that_cannot_be_float16_is_refused(tmp_path: Path) -> None:
    """A bound that no 16-bit number meets: refused in words."""
    nodes = [helper.make_node("Tanh", ["x"], ["y"])]
    with pytest.raises(PrecisionFailed, match="fp16 keeps the asked quality only when everything stays in float32"):
        converted(tmp_path, nodes, {}, quality=replace(NEAR_HALF, min_cosine=1 - 1e-12))


def test_operators_without_the_type_stay(tmp_path: Path) -> None:
    """Range has no float16 form, and a branch reads what is outside it: both work on in float32."""
    branch = helper.make_graph(
        [helper.make_node("Mul", ["halved", "halved"], ["squared"])],
        "then",
        [],
        [helper.make_tensor_value_info("squared", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["halved"], ["negative"])],
        "else",
        [],
        [helper.make_tensor_value_info("negative", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Range", ["zero", "eight", "one"], ["range"], name="range"),
        helper.make_node("Add", ["x", "range"], ["sum"], name="sum"),
        helper.make_node("Mul", ["sum", "half"], ["halved"], name="halve"),
        helper.make_node("If", ["yes"], ["chosen"], name="choose", then_branch=branch, else_branch=other),
        helper.make_node("Tanh", ["chosen"], ["y"], name="tanh"),
    ]
    constants = {
        "zero": np.float32(0), "eight": np.float32(8), "one": np.float32(1), "half": np.float32(0.5),
        "yes": np.array(True),
    }  # fmt: skip
    float32, made = converted(tmp_path, nodes, constants)
    types = value_types(made.proto)
    assert {name: types[name].name for name in ("range", "sum", "halved", "chosen")} == {
        "range": "FLOAT",
        "sum": "FLOAT16",
        "halved": "FLOAT",
        "chosen": "FLOAT",
    }
    inputs = {"x": rows(77).astype(np.float32)}
    expected, answer = (Session(graph)(inputs)["y"] for graph in (float32, made.proto))
    np.testing.assert_allclose(answer, expected, atol=1e-3)


def test_emulation_really_rounds(tmp_path: Path) -> None:
    """A step of the type shows in the emulated answer: nothing optimises the roundings away."""
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("Relu", ["twice"], ["y"])]
    for precision, step in (("fp16", 2.0**-10), ("bf16", 2.0**-7)):
        _, made = converted(tmp_path, nodes, {}, precision=precision)
        answer = Session(emulated(made.proto))({"x": np.full((1, 8), 1 + step / 4, np.float32)})["y"]
        np.testing.assert_array_equal(answer, 2.0)
        answer = Session(emulated(made.proto))({"x": np.full((1, 8), 1 + step, np.float32)})["y"]
        np.testing.assert_array_equal(answer, 2 + 2 * step)
