"""A float32 graph whose nodes compute in a 16-bit type instead, except some; its inputs and outputs keep their types.

Rules: a value has the type of the node that makes it. A node that reads another type gets it through a Cast, one for a
value and a type. Constants are stored in the type that reads them. A node stays in float32 when its operator has no
form in the 16-bit type, when it holds a graph of its own (If, Loop), or when such a graph reads what it makes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import onnx
import onnx_ir as ir

from modelyard_build import graph_files
from modelyard_build.fusion.merging import add_constant, drop_unused

FLOAT = ir.DataType.FLOAT
# Their type is an attribute; a Cast behind them costs nothing.
_AS_THEY_ARE = {"Constant", "ConstantOfShape"}


def value_types(proto: onnx.ModelProto) -> dict[str, ir.DataType]:
    """The type of every value of a graph, by name."""
    inferred = graph_files.infer_shapes(proto).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: ir.DataType(value.type.tensor_type.elem_type) for value in values}
    return types | {tensor.name: ir.DataType(tensor.data_type) for tensor in proto.graph.initializer}


def castable(model: ir.Model, types: Mapping[str, ir.DataType], low: ir.DataType) -> list[str]:
    """The names of the nodes that compute with float32 values and could do so in the 16-bit type, in graph order."""
    opset = model.opset_imports.get("", 0)
    return [str(node.name) for node in model.graph if _castable(node, types, low, opset)]


def _castable(node: ir.Node, types: Mapping[str, ir.DataType], low: ir.DataType, opset: int) -> bool:
    nested = any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values())
    read_within = any(use.node.graph is not node.graph for value in node.outputs for use in value.uses())
    if node.domain not in ("", "ai.onnx") or nested or read_within or node.op_type in _AS_THEY_ARE:
        return False
    floats = [value for value in (*node.inputs, *node.outputs) if _is_float(value, types)]
    return bool(floats) and all(low in allowed for allowed in _generic_types(node, opset, types))


def _is_float(value: ir.Value | None, types: Mapping[str, ir.DataType]) -> bool:
    return value is not None and types.get(value.name or "") == FLOAT


def _generic_types(node: ir.Node, opset: int, types: Mapping[str, ir.DataType]) -> Iterator[set[ir.DataType]]:
    """For each float32 input and output: the types that the operator would take in its place."""
    for index, value in enumerate(node.inputs):
        if _is_float(value, types) and _is_generic(node, index, opset):
            yield _allowed(node, opset, _formal(node, index, opset).type_str)
    schema = onnx.defs.get_schema(node.op_type, opset)
    for index, value in enumerate(node.outputs):
        if _is_float(value, types):
            yield _allowed(node, opset, schema.outputs[min(index, len(schema.outputs) - 1)].type_str)


def _formal(node: ir.Node, index: int, opset: int) -> onnx.defs.OpSchema.FormalParameter:
    inputs = onnx.defs.get_schema(node.op_type, opset).inputs
    # The last one of a variadic operator stands for all that follow.
    return inputs[min(index, len(inputs) - 1)]


def _is_generic(node: ir.Node, index: int, opset: int) -> bool:
    """Whether an input may be of another type than float32. A Cast reads whatever there is."""
    return node.op_type == "Cast" or not _formal(node, index, opset).type_str.startswith("tensor(")


def _allowed(node: ir.Node, opset: int, type_str: str) -> set[ir.DataType]:
    constraints = onnx.defs.get_schema(node.op_type, opset).type_constraints
    names = next((c.allowed_type_strs for c in constraints if c.type_param_str == type_str), [type_str])
    inner = {name.removeprefix("tensor(").removesuffix(")").upper() for name in names}
    return {dtype for dtype in ir.DataType if dtype.name in inner}


def cast(model: ir.Model, types: Mapping[str, ir.DataType], low: ir.DataType, chosen: Collection[str]) -> None:
    """Puts nodes into the 16-bit type, in place.

    Args:
        model: the float32 graph, its nodes named.
        types: of its values.
        low: FLOAT16 or BFLOAT16.
        chosen: the names of the nodes that compute in it; each castable.
    """
    made = [v for node in model.graph if node.name in chosen for v in node.outputs if _is_float(v, types)]
    reader = _Reader(model, {id(value) for value in made}, types, low)
    for node in list(model.graph):
        reader.adapt(node, low if node.name in chosen else FLOAT)
        if node.name in chosen and node.op_type == "Cast" and _is_float(node.outputs[0], types):
            node.attributes["to"] = ir.AttrInt64("to", low.value)
    for value in made:
        value.type = ir.TensorType(low)
        if value.is_graph_output():
            _restore_output(model.graph, value)
    drop_unused(model.graph)


class _Reader:
    """Gives each node its inputs in the type that it computes in."""

    def __init__(
        self, model: ir.Model, made: Collection[int], types: Mapping[str, ir.DataType], low: ir.DataType
    ) -> None:
        self._made = made
        self._types = types
        self._low = low
        self._opset = model.opset_imports.get("", 0)
        self._casts: dict[tuple[str, ir.DataType], ir.Value] = {}

    def adapt(self, node: ir.Node, want: ir.DataType) -> None:
        """Replaces what the node reads in another type."""
        if node.op_type == "Cast" or node.domain not in ("", "ai.onnx"):
            want_of = {index: FLOAT for index in range(len(node.inputs)) if node.op_type != "Cast"}
        else:
            want_of = {i: want if _is_generic(node, i, self._opset) else FLOAT for i in range(len(node.inputs))}
        for index, wanted in want_of.items():
            value = node.inputs[index]
            have = self._low if id(value) in self._made else FLOAT
            if value is not None and _is_float(value, self._types) and have != wanted:
                node.replace_input_with(index, self._as(node, value, wanted))

    def _as(self, node: ir.Node, value: ir.Value, want: ir.DataType) -> ir.Value:
        key = (str(value.name), want)
        if key not in self._casts:
            name = f"{value.name}.{want.name.lower()}"
            constant = value.const_value
            self._casts[key] = _cast_before(node, value, want, name) if constant is None else _stored(node, value, want)
        return self._casts[key]


def _stored(node: ir.Node, value: ir.Value, want: ir.DataType) -> ir.Value:
    assert value.const_value is not None and isinstance(node.graph, ir.Graph)  # noqa: S101, PT018  # a constant
    array = value.const_value.numpy().astype(want.numpy())
    return add_constant(node.graph, f"{value.name}.{want.name.lower()}", array)


def _cast_before(node: ir.Node, value: ir.Value, want: ir.DataType, name: str) -> ir.Value:
    made = ir.node("Cast", [value], {"to": want.value}, name=name)
    made.outputs[0].name = name
    made.outputs[0].type = ir.TensorType(want)
    made.outputs[0].shape = value.shape
    assert node.graph is not None  # noqa: S101  # the caller took it from a graph
    node.graph.insert_before(node, made)
    return made.outputs[0]


def _restore_output(graph: ir.Graph, value: ir.Value) -> None:
    """The graph's output keeps its name and type; what makes it gets another name."""
    name = str(value.name)
    dtype = value.type.dtype if value.type else FLOAT
    value.name = f"{name}.{dtype.name.lower()}"
    made = ir.node("Cast", [value], {"to": FLOAT.value}, name=f"{name}.output")
    made.outputs[0].name, made.outputs[0].shape = name, value.shape
    made.outputs[0].type = ir.TensorType(FLOAT)
    graph.append(made)
    graph.outputs[list(graph.outputs).index(value)] = made.outputs[0]


def emulated(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph for a runtime that lacks the 16-bit kernels: each node computes in float32 and rounds its answer.

    That is what a GPU does with a 16-bit MatMul that sums in float32. ONNX Runtime's CPU has no bfloat16 kernels at
    all, and leaves the rounding between its float16 ones to chance.
    """
    model = ir.from_proto(proto)
    types = value_types(proto)
    for node in list(model.graph):
        if node.op_type != "Cast":
            _emulate(node, types)
    return ir.to_proto(model)


def _emulate(node: ir.Node, types: Mapping[str, ir.DataType]) -> None:
    halves = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    graph = node.graph
    assert isinstance(graph, ir.Graph)  # noqa: S101  # the caller took it from a graph
    for index, value in enumerate(node.inputs):
        if value is not None and types.get(value.name or "") in halves:
            node.replace_input_with(index, _cast_before(node, value, FLOAT, f"{node.name}.{index}.emulated"))
    for value in node.outputs:
        dtype = types.get(value.name or "")
        if dtype in halves:
            rounded = ir.node("Cast", [value], {"to": dtype.value}, name=f"{value.name}.rounded")
            value.replace_all_uses_with(rounded.outputs[0], replace_graph_outputs=True)
            rounded.replace_input_with(0, value)
            rounded.outputs[0].name, value.name = value.name, f"{value.name}.exact"
            rounded.outputs[0].type, value.type = ir.TensorType(dtype), ir.TensorType(FLOAT)
            graph.insert_after(node, rounded)
