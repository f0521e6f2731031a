"""Values that a 16-bit float cannot hold, found by running the float32 graph on real inputs.

float16 ends at 65504, and below 6e-8 there is nothing but zero. Which values get there is a matter of data, not of
operators: the same layer norm is safe in one model and full of infinities in the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelyard_build.model import Arrays
from modelyard_build.precision.casting import FLOAT
from modelyard_build.precision.sessions import Session

_LIMITS = {
    ir.DataType.FLOAT16: (2.0**-24, 65504.0),
    ir.DataType.BFLOAT16: (2.0**-133, 2.0**127 * (2 - 2.0**-7)),
}
# Operators that square what they read before they sum it up: the square must fit too.
_SQUARING = {
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "RMSNormalization",
    "ReduceL2",
}


@dataclass(frozen=True)
class Overflow:
    """A node that cannot compute in the 16-bit type.

    Attributes:
        node: its name.
        op_type: its operator.
        value: the value that does not fit: one that it makes, reads, or squares.
        largest: the largest magnitude that real inputs gave it.
    """

    node: str
    op_type: str
    value: str
    largest: float

    def __str__(self) -> str:
        """Why the node stays in float32."""
        return f"{self.op_type}: {self.value} reaches {self.largest:.3g}"


def limits(low: ir.DataType) -> tuple[float, float]:
    """The smallest magnitude above zero and the largest finite one of a 16-bit type."""
    return _LIMITS[low]


def find(
    model: ir.Model, types: Mapping[str, ir.DataType], batches: Sequence[Arrays], low: ir.DataType
) -> list[Overflow]:
    """The nodes whose values leave the type's range on real inputs, in graph order."""
    least, most = limits(low)
    seen = magnitudes(model, types, batches)
    found = []
    for node in model.graph:
        for value, largest in _held(node, seen):
            if largest > most or 0 < largest < least:
                found.append(Overflow(str(node.name), node.op_type, value, largest))
                break
    return found


def _held(node: ir.Node, seen: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """What a node makes, what it reads, and what it works with inside."""
    for value in (*node.outputs, *node.inputs):
        if value is not None and (name := str(value.name)) in seen:
            yield name, seen[name]
    if node.op_type in _SQUARING and node.inputs[0] is not None and (name := str(node.inputs[0].name)) in seen:
        yield f"the square of {name}", seen[name] ** 2


def magnitudes(model: ir.Model, types: Mapping[str, ir.DataType], batches: Sequence[Arrays]) -> dict[str, float]:
    """The largest finite magnitude of every float32 value that a node makes or an input brings.

    Infinities are left out: a mask of them stays one in any type.
    """
    graph = model.clone()
    values = [*graph.graph.inputs, *(value for node in graph.graph for value in node.outputs)]
    floats = [value for value in values if types.get(value.name or "") == FLOAT]
    largest = {str(value.name): add_largest(graph.graph, value) for value in floats}
    session = Session(ir.to_proto(graph), list(largest.values()))
    runs = [session(batch) for batch in batches]
    return {name: float(np.max([run[reduced] for run in runs])) for name, reduced in largest.items()}


def add_largest(graph: ir.Graph, value: ir.Value) -> str:
    """Adds the largest finite magnitude of a value to a graph, and names it: a number that is no burden to return."""
    zero = ir.val("largest.zero", const_value=ir.tensor(np.float32(0), name="largest.zero"))
    if zero.name not in graph.initializers:
        graph.register_initializer(zero)
    absolute = ir.node("Abs", [value])
    infinite = ir.node("IsInf", [absolute.outputs[0]])
    finite = ir.node("Where", [infinite.outputs[0], graph.initializers["largest.zero"], absolute.outputs[0]])
    # Its axes moved from an attribute to an input in opset 18; without either it takes them all.
    largest = ir.node("ReduceMax", [finite.outputs[0]], {"keepdims": 0})
    largest.outputs[0].name = f"{value.name}.largest"
    graph.extend([absolute, infinite, finite, largest])
    return str(largest.outputs[0].name)
