"""Constants that a 16-bit type turns into infinity or zero: a mask's float32 minimum, an epsilon under a division."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from modelyard_build.model import Array, Arrays
from modelyard_build.precision.overflow import limits
from modelyard_build.precision.sessions import Session

# What carries a small number on to the node that divides by it.
_CARRYING = {"Expand", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Transpose", "Slice", "Sqrt", "Pow"}


def clamp(model: ir.Model, batches: Sequence[Arrays], low: ir.DataType) -> dict[str, str]:
    """Brings constants beyond the type's range to half of it, in place, where the answers do not change by that.

    Half, because a mask is added to scores: at the very end of the range the sum would be minus infinity, and a row
    whose every entry is masked would come out as NaN.

    Returns:
        What was clamped, by the constant's name, in words.
    """
    done: dict[str, str] = {}
    expected = _answers(model, batches) if any(_beyond(model, low)) else []
    for value, array in list(_beyond(model, low)):
        edge = np.float32(limits(low)[1] / 2)
        narrow = np.where(np.isfinite(array), np.clip(array, -edge, edge), array).astype(np.float32)
        wide, value.const_value = value.const_value, ir.tensor(narrow, name=value.name)
        if all(map(_equal, expected, _answers(model, batches))):
            done[str(value.name)] = f"{_extreme(array):.4g} became {_extreme(narrow):.4g}"
        else:
            value.const_value = wide
    return done


def out_of_range(model: ir.Model, low: ir.DataType) -> dict[str, str]:
    """The nodes that must stay in float32 for the sake of a constant they read, with the reason."""
    kept: dict[str, str] = {}
    for value, array in _beyond(model, low):
        reason = f"reads {value.name!r}: {_extreme(array):.4g}"
        kept |= {str(use.node.name): reason for use in value.uses()}
    for value, array in _vanishing(model, low):
        reason = f"needs {value.name!r}: {_extreme(array):.4g}"
        kept |= {str(node.name): reason for use in value.uses() for node in _guarded(use.node)}
    return kept


def _guarded(node: ir.Node) -> Iterator[ir.Node]:
    """A node, and those that its value reaches unchanged or as a root: one of them divides by it."""
    yield node
    for use in (use for value in node.outputs for use in value.uses()):
        if use.node.op_type in _CARRYING:
            yield from _guarded(use.node)
        else:
            yield use.node


def _floats(model: ir.Model) -> Iterator[tuple[ir.Value, Array]]:
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT and value.const_value.size:
            yield value, value.const_value.numpy()


def _beyond(model: ir.Model, low: ir.DataType) -> Iterator[tuple[ir.Value, Array]]:
    most = limits(low)[1]
    return ((value, array) for value, array in _floats(model) if (np.isfinite(array) & (np.abs(array) > most)).any())


def _vanishing(model: ir.Model, low: ir.DataType) -> Iterator[tuple[ir.Value, Array]]:
    """Constants that are not zero, and would be, wholly."""
    least = limits(low)[0]
    return ((value, array) for value, array in _floats(model) if 0 < np.abs(array).max() < least)


def _extreme(array: Array) -> float:
    """The finite element of the largest magnitude."""
    finite = array[np.isfinite(array)]
    return float(finite[np.abs(finite).argmax()])


def _answers(model: ir.Model, batches: Sequence[Arrays]) -> list[Arrays]:
    session = Session(ir.to_proto(model))
    return [session(batch) for batch in batches]


def _equal(expected: Mapping[str, Array], answer: Mapping[str, Array]) -> bool:
    return all(np.allclose(expected[name], answer[name], rtol=1e-5, atol=1e-6) for name in expected)
