"""ONNX graphs beyond what protobuf can hold: 2 GiB in one message.

A graph with more weights than that is saved as two files, `model.onnx` and `model.onnx.data` beside it. It is checked
without its weights: they stand as inputs of the same type and shape, which says as much about the graph.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import shape_inference

# Weights of more bytes than this leave the main file; what is left of the 2 GiB is for nodes and names.
SINGLE_FILE_BYTES = 2**31 - 2**26
# Smaller constants decide shapes, so they stay in the graph.
SMALL_CONSTANT_BYTES = 1024


def data_path(path: Path) -> Path:
    """Where the weights of a large graph stand: beside it."""
    return path.with_name(f"{path.name}.data")


def save(proto: onnx.ModelProto, path: Path) -> None:
    """Saves a graph of any size; one above `SINGLE_FILE_BYTES` gets its weights into a second file.

    Raises:
        onnx.checker.ValidationError: what was written is no valid ONNX.
    """
    if sum(map(_bytes_of, _tensors(proto))) <= SINGLE_FILE_BYTES:
        onnx.save(proto, path)
        return
    _save_in_two(ir.from_proto(proto), path)


def copy(graph: Path, target: Path) -> None:
    """Copies a graph; its second file is called after the target, since other graphs may lie beside it."""
    if data_path(graph).exists():
        _save_in_two(ir.load(graph), target)
    else:
        shutil.copyfile(graph, target)


def _save_in_two(model: ir.Model, path: Path) -> None:
    ir.save(model, path, external_data=data_path(path).name, size_threshold_bytes=SMALL_CONSTANT_BYTES)
    onnx.checker.check_model(str(path))


def infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Checks a graph of any size, and infers the shape of every value.

    Returns:
        The graph without its weights; what it says about values and outputs holds for the whole one.

    Raises:
        onnx.checker.ValidationError: it is no valid ONNX.
        onnx.shape_inference.InferenceError: its shapes contradict one another.
    """
    light = _without_weights(proto)
    onnx.checker.check_model(light, full_check=True)
    return shape_inference.infer_shapes(light, strict_mode=True, data_prop=True)


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with every large constant as an input. Nothing large is copied on the way."""
    light = onnx.ModelProto(ir_version=proto.ir_version)
    light.opset_import.extend(proto.opset_import)
    light.functions.extend(proto.functions)
    graph, whole = light.graph, proto.graph
    graph.name = whole.name
    graph.node.extend(whole.node)
    graph.input.extend(whole.input)
    graph.output.extend(whole.output)
    graph.value_info.extend(whole.value_info)
    for tensor in whole.initializer:
        if _bytes_of(tensor) <= SMALL_CONSTANT_BYTES:
            graph.initializer.append(tensor)
        else:
            _check_size(tensor)
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def _check_size(tensor: onnx.TensorProto) -> None:
    if tensor.HasField("raw_data") and len(tensor.raw_data) != _bytes_of(tensor):
        raise onnx.checker.ValidationError(
            f"weight {tensor.name!r} holds {len(tensor.raw_data)} bytes, its shape {list(tensor.dims)} needs "
            f"{_bytes_of(tensor)}"
        )


def _bytes_of(tensor: onnx.TensorProto) -> int:
    return math.ceil(math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth / 8)


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from proto.graph.initializer
    for node in proto.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR)
