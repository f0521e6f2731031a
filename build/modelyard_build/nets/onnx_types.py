"""An ONNX graph in which every floating-point value is float64: its meaning, without the rounding of its own types."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

DOUBLE = TensorProto.DOUBLE
FLOATS = frozenset((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16))
# Attributes that name an element type. What a normalisation rounds to within (stash_type) the evaluator leaves out.
_TYPE_ATTRIBUTES = frozenset(("to", "dtype", "output_dtype", "softmax_precision"))


def widened(proto: ModelProto) -> ModelProto:
    """A copy that computes in float64: inputs, initialisers, constants, and the casts to a smaller type."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    _widen_graph(copy.graph)
    for function in copy.functions:
        function.CopyFrom(widened_function(function))
    return copy


def widened_function(function: FunctionProto) -> FunctionProto:
    """A copy of a function that computes in float64."""
    copy = FunctionProto()
    copy.CopyFrom(function)
    for node in copy.node:
        _widen_node(node)
    return copy


def _widen_graph(graph: GraphProto) -> None:
    for index, tensor in enumerate(graph.initializer):
        if tensor.data_type in FLOATS:
            graph.initializer[index].CopyFrom(_widen_tensor(tensor))
    for sparse in graph.sparse_initializer:
        if sparse.values.data_type in FLOATS:
            sparse.values.CopyFrom(_widen_tensor(sparse.values))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = DOUBLE
    for node in graph.node:
        _widen_node(node)


def _widen_tensor(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)


def _widen_node(node: NodeProto) -> None:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    for attribute in attributes.values():
        _widen_attribute(attribute)
    if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
        _widen_constant(node, attributes)
    # Without a value it fills with float32 zeros.
    if node.op_type == "ConstantOfShape" and "value" not in attributes:
        node.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))


def _widen_attribute(attribute: AttributeProto) -> None:
    if attribute.name in _TYPE_ATTRIBUTES and attribute.type == AttributeProto.INT and attribute.i in FLOATS:
        attribute.i = DOUBLE
    if attribute.type == AttributeProto.TENSOR and attribute.t.data_type in FLOATS:
        attribute.t.CopyFrom(_widen_tensor(attribute.t))
    for graph in subgraphs(attribute):
        _widen_graph(graph)


def _widen_constant(node: NodeProto, attributes: dict[str, AttributeProto]) -> None:
    """`value_float` and `value_floats` have no type of their own: they become a `value` that has."""
    for name in ("value_float", "value_floats"):
        if name in attributes and not attributes[name].ref_attr_name:
            value = np.array(onnx.helper.get_attribute_value(attributes[name]), np.float64)
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(value)))


def subgraphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    """The graphs that an attribute holds: the branches of an If, the body of a Loop."""
    if attribute.type == AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def nodes_of(proto: ModelProto) -> Iterator[NodeProto]:
    """Every node of a model: of its graph, of the graphs within it, of its functions."""
    yield from _nodes(proto.graph.node)
    for function in proto.functions:
        yield from _nodes(function.node)


def _nodes(nodes: object) -> Iterator[NodeProto]:
    for node in nodes:  # type: ignore[attr-defined]  # a repeated field, whose class protobuf does not name
        yield node
        for attribute in node.attribute:
            for graph in subgraphs(attribute):
                yield from _nodes(graph.node)
