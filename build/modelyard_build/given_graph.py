"""The graph of an ONNX file in the place of an export: held against the declaration, and served with its own nodes.

Rules: the nodes and weights are the file's. An initialiser that is listed as an input too (every one was before IR 4)
is no input any more: no request can give it. A dimension without a name gets the declared one. Where the file fixes the
batch at 1 and the declaration does not, the first dimension of inputs and outputs becomes the batch, and with it the
constant 1 that a Reshape begins with; that items are then computed as they are alone, the verification proves. A tensor
of single numbers, which no config can state, becomes one of rows of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto, numpy_helper

from modelyard_build.errors import ExportFailed
from modelyard_build.export import check
from modelyard_build.model import Axis, Model, Tensor
from modelyard_build.module_checks import first_line
from modelyard_build.nets.onnx_types import subgraphs
from modelyard_build.onnx_file_checks import check_file

BATCH = "batch"
_NUMBER = "number"
_DEFAULTS_ARE_NO_INPUTS = 4


def take(model: Model, path: Path) -> ModelProto:
    """The graph of a file as it is declared.

    Args:
        model: the declaration.
        path: the ONNX file; its external data lies beside it.

    Returns:
        A checked graph; see `export.export`.

    Raises:
        ExportFailed: the file is damaged or asks for what no runtime has, or its tensors are not as declared.
    """
    check_file(model.name, path)
    proto = load(model.name, path)
    drop_default_inputs(proto)
    _check_names(model, proto)
    if model.max_batch_size and batch_is_fixed(proto):
        free_batch(proto)
    as_rows(proto, _numbers(model, proto), batched=bool(model.max_batch_size))
    for tensors, values in ((model.inputs, proto.graph.input), (model.outputs, proto.graph.output)):
        by_name = {value.name: value for value in values}
        for tensor in tensors:
            _name_dims(by_name[tensor.name], model, tensor)
    # What is said of inner values would contradict a batch that was fixed before.
    del proto.graph.value_info[:]
    return check(model, proto)


def load(name: str, path: Path) -> ModelProto:
    """Reads a file with its weights.

    Args:
        name: of the model, for messages.
        path: the file.

    Raises:
        ExportFailed: it cannot be read.
    """
    try:
        return onnx.load(path)
    except Exception as error:
        # Protobuf's, onnx's and the operating system's errors have no common base.
        raise ExportFailed(
            f"{name}: {path} cannot be read as ONNX: {first_line(error)}. Check that the file is whole, and that "
            "its weights lie beside it."
        ) from error


def drop_default_inputs(proto: ModelProto) -> list[str]:
    """Takes initialisers out of the inputs, in place; returns their names."""
    graph = proto.graph
    defaults = {tensor.name for tensor in graph.initializer} | {
        tensor.values.name for tensor in graph.sparse_initializer
    }
    dropped = [value.name for value in graph.input if value.name in defaults]
    kept = [value for value in graph.input if value.name not in defaults]
    del graph.input[:]
    graph.input.extend(kept)
    # Before it every initialiser had to be an input.
    proto.ir_version = max(proto.ir_version, _DEFAULTS_ARE_NO_INPUTS)
    return dropped


def batch_is_fixed(proto: ModelProto) -> bool:
    """Whether every input and output begins with a dimension of 1."""
    values = [*proto.graph.input, *proto.graph.output]
    dims = [value.type.tensor_type.shape.dim for value in values]
    return all(len(dim) > 0 and dim[0].dim_value == 1 for dim in dims)


def free_batch(proto: ModelProto) -> None:
    """Makes the first dimension of every input and output the batch, in place."""
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        dim.Clear()
        dim.dim_param = BATCH
    del graph.value_info[:]
    _free_reshapes(proto)


def _free_reshapes(proto: ModelProto) -> None:
    graph = proto.graph
    constants = dict(_constants(proto))
    of_requests = {value.name for value in graph.input}
    for number, node in enumerate(graph.node):
        if not of_requests & _read_by(node):
            continue
        of_requests.update(node.output)
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or node.input[0] not in of_requests or len(shape) < 2 or shape[0] != 1:
            continue
        # 0 is the size that stands there already; -1 whatever is left.
        shape[0] = 0 if -1 in shape else -1
        name = f"{node.input[1]}_{BATCH}_{number}"
        graph.initializer.append(numpy_helper.from_array(shape, name))
        node.input[1] = name


def _constants(proto: ModelProto) -> Iterator[tuple[str, np.ndarray]]:  # type: ignore[type-arg]
    """The values of small integer constants, each a copy."""
    small = [tensor for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.INT64]
    yield from ((tensor.name, np.array(numpy_helper.to_array(tensor))) for tensor in small if len(tensor.dims) == 1)
    for node in proto.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value" and attribute.t.data_type == onnx.TensorProto.INT64:
                yield node.output[0], np.array(numpy_helper.to_array(attribute.t)).reshape(-1)
            elif attribute.name == "value_ints":
                yield node.output[0], np.array(attribute.ints, np.int64)


def _read_by(node: NodeProto) -> set[str]:
    """What a node reads, and what the graphs within it read."""
    found = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in subgraphs(attribute):
            found.update(name for inner in graph.node for name in _read_by(inner))
    return found


def numbers(proto: ModelProto, rank: int) -> list[str]:
    """The inputs and outputs of a rank: with a batch alone, or without any dimension, they are single numbers."""
    values = (*proto.graph.input, *proto.graph.output)
    return [
        value.name
        for value in values
        if value.type.tensor_type.HasField("shape") and len(value.type.tensor_type.shape.dim) == rank
    ]


def _numbers(model: Model, proto: ModelProto) -> list[str]:
    rows = {tensor.name for tensor in (*model.inputs, *model.outputs) if tensor.dims == (1,)}
    return [name for name in numbers(proto, 1 if model.max_batch_size else 0) if name in rows]


def as_rows(proto: ModelProto, names: Iterable[str], *, batched: bool) -> None:
    """Makes single numbers rows of one, in place: a config has no dims for less."""
    for name in names:
        inner = f"{name}_{_NUMBER}"
        _rename(proto.graph, name, inner)
        value = next((value for value in proto.graph.input if value.name == name), None)
        is_input = value is not None
        value = value or next(value for value in proto.graph.output if value.name == name)
        shape = ([-1] if batched else []) if is_input else ([-1, 1] if batched else [1])
        constant = numpy_helper.from_array(np.array(shape, np.int64), f"{inner}_shape")
        proto.graph.initializer.append(constant)
        pair = (name, inner) if is_input else (inner, name)
        node = onnx.helper.make_node("Reshape", [pair[0], constant.name], [pair[1]], name=f"{inner}_reshape")
        proto.graph.node.insert(0 if is_input else len(proto.graph.node), node)
        value.type.tensor_type.shape.dim.add().dim_value = 1


def _rename(graph: onnx.GraphProto, name: str, new: str) -> None:
    """Within nodes, and the graphs within them; the graph's own inputs and outputs stay."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if one == name else one for one in names]
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                _rename(inner, name, new)


def _check_names(model: Model, proto: ModelProto) -> None:
    pairs: Iterable[tuple[str, Iterable[ValueInfoProto], tuple[Tensor, ...]]] = (
        ("input", proto.graph.input, model.inputs),
        ("output", proto.graph.output, model.outputs),
    )
    for role, found, declared in pairs:
        names, expected = [value.name for value in found], [tensor.name for tensor in declared]
        if names != expected:
            raise ExportFailed(
                f"{model.name}: the {role}s of {model.graph} are {', '.join(names)}; declared are "
                f"{', '.join(expected)}. Declare each of them, in the file's order."
            )


def _name_dims(value: ValueInfoProto, model: Model, tensor: Tensor) -> None:
    """Gives a name to a dimension that has none, and the declared size to one that varies in the file."""
    declared = [*([BATCH] if model.max_batch_size else []), *(_size(dim) for dim in tensor.dims)]
    shape = value.type.tensor_type.shape
    if not value.type.tensor_type.HasField("shape"):
        shape.dim.extend([onnx.TensorShapeProto.Dimension() for _ in declared])
    for dim, size in zip(shape.dim, declared, strict=False):
        if dim.HasField("dim_value"):
            continue
        if isinstance(size, int):
            dim.dim_value = size
        elif not dim.dim_param:
            dim.dim_param = size


def _size(dim: int | Axis) -> int | str:
    return dim.name if isinstance(dim, Axis) else dim
