"""Products of one value with several weights become one product and a Split: query, key and value of attention.

    x -> MatMul(a) -> Add(p) -> ...            x -> MatMul([a b]) -> Add([p q]) -> Split -> ...
    x -> MatMul(b) -> Add(q) -> ...    becomes                                        `--> ...

The numbers are the same. ONNX Runtime needs it for int8: it turns a quantised MatMul into its int8 kernel only where
no other node reads the same DequantizeLinear, and merges equal ones, however often they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelyard_build.model import Array

# Names of merged nodes are joined by it.
JOINT = "+"


@dataclass(frozen=True)
class _Branch:
    """One product, and the bias behind it."""

    product: ir.Node
    add: ir.Node
    weight: Array
    bias: Array


def merge_products(graph: ir.Graph) -> int:
    """Merges what can be merged, in place; the nodes must be named.

    Returns:
        How many products became part of another.
    """
    by_input: dict[int, list[_Branch]] = {}
    for branch in _branches(graph):
        by_input.setdefault(id(branch.product.inputs[0]), []).append(branch)
    groups = [branches for branches in by_input.values() if len(branches) > 1]
    for branches in groups:
        _merge(graph, branches)
    return sum(len(branches) - 1 for branches in groups)


def _branches(graph: ir.Graph) -> Iterator[_Branch]:
    """Every MatMul with constant weights [k, n] whose only reader adds a constant bias [n]."""
    for node in graph:
        uses = list(node.outputs[0].uses())
        weight = _array(node.inputs[1]) if node.op_type == "MatMul" and node.domain == "" else None
        if weight is None or weight.ndim != 2 or len(uses) != 1 or node.outputs[0].is_graph_output():
            continue
        add = uses[0].node
        bias = _array(add.inputs[1 - uses[0].idx]) if add.op_type == "Add" and add.graph is graph else None
        if bias is not None and bias.shape == weight.shape[1:] and not add.outputs[0].is_graph_output():
            yield _Branch(node, add, weight, bias)


def _merge(graph: ir.Graph, branches: Sequence[_Branch]) -> None:
    name = JOINT.join(str(branch.product.name) for branch in branches)
    first = branches[0].product
    weight = add_constant(graph, f"{name}.weight", np.concatenate([branch.weight for branch in branches], axis=1))
    bias = add_constant(graph, f"{name}.bias", np.concatenate([branch.bias for branch in branches]))
    sizes = add_constant(graph, f"{name}.sizes", np.array([len(branch.bias) for branch in branches], np.int64))
    product = _named(ir.node("MatMul", [first.inputs[0], weight], name=name))
    add = _named(ir.node("Add", [product.outputs[0], bias], name=f"{name}.add"))
    split = ir.node("Split", [add.outputs[0], sizes], {"axis": -1}, num_outputs=len(branches), name=f"{name}.split")
    graph.insert_before(first, [product, add, split])
    for branch, part in zip(branches, split.outputs, strict=True):
        # The parts take over the names, so that whoever reads the graph finds what it knew.
        old = branch.add.outputs[0]
        part.name, part.type, part.shape = old.name, old.type, old.shape
        old.name = f"{old.name}.merged"
        old.replace_all_uses_with(part)
    for branch in branches:
        graph.remove(branch.add, safe=True)
        graph.remove(branch.product, safe=True)
    drop_unused(graph)


def _named(node: ir.Node) -> ir.Node:
    node.outputs[0].name = node.name
    return node


def _array(value: ir.Value | None) -> Array | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()


def add_constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A new constant of a graph."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def drop_unused(graph: ir.Graph) -> None:
    """Removes constants that no node reads any more."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
