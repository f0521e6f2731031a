"""Small ONNX graphs for engines, and the declaration that goes with them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelyard_build.model import Axis, Model, Tensor
from modelyard_build.repository.releases import release
from modelyard_build.targets.target import Source
from support.small_models import POOLER

WIDTH = 16
# What `write_mlp` has: "x" [batch, sequence, 16] in, "y" of the same shape out.
MLP = dataclasses.replace(
    POOLER,
    name="mlp",
    inputs=(Tensor("x", "FP32", (Axis("sequence", 2, 24), WIDTH)),),
    outputs=(Tensor("y", "FP32", (Axis("sequence", 2, 24), WIDTH)),),
)


def write_mlp(path: Path, inner: int = TensorProto.FLOAT, operator: str = "Relu") -> Path:
    """A linear layer and an activation, computed in a dtype between two casts, with float32 in and out."""
    weight = np.linspace(-1, 1, WIDTH * WIDTH, dtype=np.float32).reshape(WIDTH, WIDTH)
    nodes = [
        helper.make_node("Cast", ["x"], ["x_inner"], name="cast_in", to=inner),
        helper.make_node("Cast", ["weight"], ["weight_inner"], name="cast_weight", to=inner),
        helper.make_node("MatMul", ["x_inner", "weight_inner"], ["product"], name="linear"),
        helper.make_node(operator, ["product"], ["active"], name="activation", domain=_domain(operator)),
        helper.make_node("Cast", ["active"], ["y"], name="cast_out", to=TensorProto.FLOAT),
    ]
    return _save(path, nodes, [numpy_helper.from_array(weight, "weight")])


def write_mixed(path: Path) -> Path:
    """A product of float32 and float16, which no strongly typed network has."""
    weight = np.ones((WIDTH, WIDTH), np.float16)
    return _save(path, [helper.make_node("MatMul", ["x", "weight"], ["y"], name="mixed")], [_array(weight, "weight")])


def write_quantised(path: Path, dtype: int) -> Path:
    """A linear layer between quantisation and its inverse, in an 8-bit dtype."""
    scale = _array(np.float32(0.05), "scale")
    zero = helper.make_tensor("zero", dtype, [], [0])
    weight = _array(np.ones((WIDTH, WIDTH), np.float32), "weight")
    nodes = [
        node
        for name in ("x", "weight")
        for node in (
            helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_8"], name=f"quantise_{name}"),
            helper.make_node(
                "DequantizeLinear", [f"{name}_8", "scale", "zero"], [f"{name}_32"], name=f"restore_{name}"
            ),
        )
    ]
    nodes.append(helper.make_node("MatMul", ["x_32", "weight_32"], ["y"], name="linear"))
    return _save(path, nodes, [scale, zero, weight])


def _array(array: object, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def _domain(operator: str) -> str:
    return "" if operator in ("Relu", "Det") else "example"


def _save(path: Path, nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto]) -> Path:
    shape: list[str | int | None] = ["batch", "sequence", WIDTH]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        initializers,
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


class Lines:
    """A build's progress: the lines that it said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextlib.contextmanager
    def step(self, model: str, step: str) -> Iterator[None]:
        """Shows nothing."""
        yield

    def say(self, line: str) -> None:
        """Keeps a line."""
        self.lines.append(line)


def source_of(model: Model, graph: Path | Callable[[str], Path], lines: Lines | None = None) -> Source:
    """What a target gets, with a graph that is there already."""
    given = graph if callable(graph) else lambda precision: graph

    def module() -> None:
        raise AssertionError("an engine is built from the graph alone")

    return Source(model, {}, module, given, release("26.06"), lines or Lines())  # type: ignore[arg-type]
