"""What each node loses by itself in a 16-bit type: all of them in one run, each beside its float32 self."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from modelyard_build.model import Arrays
from modelyard_build.precision.casting import FLOAT
from modelyard_build.precision.overflow import add_largest
from modelyard_build.precision.sessions import Session


def local_errors(
    model: ir.Model,
    types: Mapping[str, ir.DataType],
    low: ir.DataType,
    nodes: Collection[str],
    batches: Sequence[Arrays],
) -> dict[str, float]:
    """The largest error of each node whose inputs and answer are rounded, in units of its largest answer.

    Every node gets a twin that reads the same float32 values, rounded. So one run tells of all, and no node is blamed
    for what another did.
    """
    graph = model.clone()
    rounded: dict[str, ir.Value] = {}
    asked: dict[str, tuple[str, str]] = {}
    for node in [node for node in graph.graph if node.name in nodes]:
        answer = node.outputs[0]
        if types.get(answer.name or "") == FLOAT:
            twin = _twin(graph.graph, node, types, low, rounded)
            difference = ir.node("Sub", [answer, twin])
            difference.outputs[0].name = f"{node.name}.difference"
            graph.graph.append(difference)
            asked[str(node.name)] = tuple(add_largest(graph.graph, v) for v in (difference.outputs[0], answer))  # type: ignore[assignment]
    session = Session(ir.to_proto(graph), sorted({name for pair in asked.values() for name in pair}))
    runs = [session(batch) for batch in batches]
    return {name: max(_ratio(run[lost], run[whole]) for run in runs) for name, (lost, whole) in asked.items()}


def _ratio(lost: np.ndarray, whole: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(lost) / max(float(whole), 1e-30)


def _twin(
    graph: ir.Graph, node: ir.Node, types: Mapping[str, ir.DataType], low: ir.DataType, rounded: dict[str, ir.Value]
) -> ir.Value:
    def is_float(value: ir.Value | None) -> bool:
        return value is not None and types.get(value.name or "") == FLOAT

    inputs = [_rounded(graph, v, low, rounded) if v is not None and is_float(v) else v for v in node.inputs]
    made = ir.node(node.op_type, inputs, node.attributes, num_outputs=len(node.outputs))
    graph.append(made)
    return _rounded(graph, made.outputs[0], low, {})


def _rounded(graph: ir.Graph, value: ir.Value, low: ir.DataType, rounded: dict[str, ir.Value]) -> ir.Value:
    key = value.name or ""
    if not key or key not in rounded:
        down = ir.node("Cast", [value], {"to": low.value})
        up = ir.node("Cast", [down.outputs[0]], {"to": FLOAT.value})
        graph.extend([down, up])
        rounded[key] = up.outputs[0]
    return rounded[key]
