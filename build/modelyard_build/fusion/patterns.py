"""What a graph offers to fuse: patterns found in the graph as written, before any runtime has touched it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx_ir as ir

# The names of the nodes that must end up in one kernel; empty where the pattern does not begin at the node.
Members: TypeAlias = tuple[str, ...]

# What stands between a product and the softmax of attention.
_BETWEEN = {"Add", "Mul", "Div", "Where", "Cast"}
_ACTIVATIONS = {"Relu", "Clip", "Sigmoid", "LeakyRelu", "HardSwish"}
_PRODUCTS = {"MatMul", "Gemm", "Conv"}


def found(model: ir.Model) -> dict[str, list[Members]]:
    """Every pattern that stands in the graph, by name."""
    matched = {name: [m for node in model.graph if (m := match(node))] for name, match in _PATTERNS.items()}
    return {name: members for name, members in matched.items() if members}


def _attention(node: ir.Node) -> Members:
    """A softmax of a product of computed values, and the product that reads it."""
    if node.op_type != "Softmax" or not _follows_product(node):
        return ()
    return next(((_name(node), _name(use)) for use in _readers(node) if use.op_type == "MatMul"), ())


def _follows_product(node: ir.Node) -> bool:
    for maker in _makers(node):
        if maker.op_type == "MatMul" and len(_makers(maker)) == 2:
            return True
        if maker.op_type in _BETWEEN and _follows_product(maker):
            return True
    return False


def _skip_layer_norm(node: ir.Node) -> Members:
    """A layer norm of a sum of two computed values."""
    if node.op_type != "LayerNormalization":
        return ()
    return next(
        ((_name(node), _name(m)) for m in _makers(node) if m.op_type == "Add" and len(_makers(m)) == 2),
        (),
    )


def _bias_gelu(node: ir.Node) -> Members:
    """A Gelu of a sum with a constant."""
    if node.op_type != "Gelu":
        return ()
    return next(((_name(node), _name(m)) for m in _makers(node) if m.op_type == "Add" and len(_makers(m)) == 1), ())


def _conv_batch_norm(node: ir.Node) -> Members:
    """A convolution that only a batch norm reads."""
    readers = _readers(node)
    alone = node.op_type == "Conv" and [reader.op_type for reader in readers] == ["BatchNormalization"]
    return (_name(readers[0]), _name(node)) if alone else ()


def _conv_activation(node: ir.Node) -> Members:
    """A convolution, its batch norm if it has one, and the activation that reads it."""
    readers = _readers(node) if node.op_type == "Conv" else []
    if [reader.op_type for reader in readers] == ["BatchNormalization"]:
        readers = _readers(readers[0])
    alone = len(readers) == 1 and readers[0].op_type in _ACTIVATIONS
    return (_name(readers[0]), _name(node)) if alone else ()


def _quantised_product(node: ir.Node) -> Members:
    """A product or convolution of two dequantised values."""
    makers = [maker.op_type for maker in _makers(node)][:2]
    return (_name(node),) if node.op_type in _PRODUCTS and makers == ["DequantizeLinear"] * 2 else ()


def _makers(node: ir.Node) -> list[ir.Node]:
    """The nodes that make a node's inputs; constants have none."""
    makers = [value.producer() for value in node.inputs if value is not None]
    return [maker for maker in makers if maker is not None]


def _readers(node: ir.Node) -> list[ir.Node]:
    return [use.node for value in node.outputs for use in value.uses()]


def _name(node: ir.Node) -> str:
    return str(node.name)


_PATTERNS: Mapping[str, Callable[[ir.Node], Members]] = {
    "attention": _attention,
    "skip_layer_norm": _skip_layer_norm,
    "bias_gelu": _bias_gelu,
    "conv_batch_norm": _conv_batch_norm,
    "conv_activation": _conv_activation,
    "quantised_product": _quantised_product,
}
