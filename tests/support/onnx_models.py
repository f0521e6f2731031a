"""Small ONNX models for tests, and the folders that Triton loads them from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str] | None

# IR version 10 and opset 18 are read by every onnxruntime that the project supports.
IR_VERSION = 10
OPSET = 18

# ONNX element types that Triton has a data type for, but bfloat16, which numpy has none for.
ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "STRING": TensorProto.STRING,
}


def tensor(name: str, element_type: int, dims: Dims) -> onnx.ValueInfoProto:
    """One input or output of a graph; a str in `dims` is a dynamic dimension."""
    return helper.make_tensor_value_info(name, element_type, dims)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """A checked model."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(built)
    return built


def identity(element_type: int, dims: Dims = ("batch", "n")) -> onnx.ModelProto:
    """Output y is input x."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", element_type, dims)],
        [tensor("y", element_type, dims)],
    )


def identity_of_every_type() -> onnx.ModelProto:
    """in_FP32 -> out_FP32 and so on, each [batch, n], for every type that numpy has."""
    return model(
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in ELEMENT_TYPES],
        [tensor(f"in_{name}", kind, ("batch", "n")) for name, kind in ELEMENT_TYPES.items()],
        [tensor(f"out_{name}", kind, ("batch", "n")) for name, kind in ELEMENT_TYPES.items()],
    )


def matmul(weights: np.ndarray) -> onnx.ModelProto:  # type: ignore[type-arg]  # float32 [n, m]
    """Input x [batch, n] @ weights -> y [batch, m], float32."""
    return model(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ("batch", weights.shape[0]))],
        [tensor("y", TensorProto.FLOAT, ("batch", weights.shape[1]))],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )


def lookup(rows: int = 10) -> onnx.ModelProto:
    """Table [rows, 2] looked up by index int64 [batch, n] -> row float32 [batch, n, 2]; fails outside the table."""
    table = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return model(
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        [tensor("index", TensorProto.INT64, ("batch", "n"))],
        [tensor("row", TensorProto.FLOAT, ("batch", "n", 2))],
        [numpy_helper.from_array(table, "table")],
    )


def scalar_scale() -> onnx.ModelProto:
    """Input x float32 [n] times factor (a scalar) -> y [n], and x's sum -> total (a scalar)."""
    return model(
        [
            helper.make_node("Mul", ["x", "factor"], ["y"]),
            helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        ],
        [tensor("x", TensorProto.FLOAT, ("n",)), tensor("factor", TensorProto.FLOAT, ())],
        [tensor("y", TensorProto.FLOAT, ("n",)), tensor("total", TensorProto.FLOAT, ())],
    )


def row_sums() -> onnx.ModelProto:
    """Input x float32 [batch, n] -> sum [batch], a tensor that is the batch alone."""
    axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    return model(
        [helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0)],
        [tensor("x", TensorProto.FLOAT, ("batch", "n"))],
        [tensor("sum", TensorProto.FLOAT, ("batch",))],
        [axis],
    )


def batch_mean() -> onnx.ModelProto:
    """Input x float32 [batch, 2] -> mean over the batch [rows, 2], a model that does not keep the batch."""
    axis = numpy_helper.from_array(np.array([0], dtype=np.int64), "axis")
    return model(
        [helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1)],
        [tensor("x", TensorProto.FLOAT, ("batch", 2))],
        [tensor("mean", TensorProto.FLOAT, ("rows", 2))],
        [axis],
    )


def overridable_offset() -> onnx.ModelProto:
    """Input x float32 [n] plus offset [1] -> y [n]; offset is an initializer (100) that a run may override."""
    return model(
        [helper.make_node("Add", ["x", "offset"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ("n",)), tensor("offset", TensorProto.FLOAT, (1,))],
        [tensor("y", TensorProto.FLOAT, ("n",))],
        [numpy_helper.from_array(np.array([100], dtype=np.float32), "offset")],
    )


def ragged() -> onnx.ModelProto:
    """Inputs x float32 [total] and ends int32 [requests] -> x doubled [total], and the ends as given."""
    return model(
        [helper.make_node("Add", ["x", "x"], ["doubled"]), helper.make_node("Identity", ["ends"], ["ends_out"])],
        [tensor("x", TensorProto.FLOAT, ("total",)), tensor("ends", TensorProto.INT32, ("requests",))],
        [tensor("doubled", TensorProto.FLOAT, ("total",)), tensor("ends_out", TensorProto.INT32, ("requests",))],
    )


def sequence_echo() -> onnx.ModelProto:
    """Inputs x, start [batch, 1] float32 and corrid [batch, 1] uint64 -> each as it came."""
    names = {"x": TensorProto.FLOAT, "start": TensorProto.FLOAT, "corrid": TensorProto.UINT64}
    return model(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in names],
        [tensor(name, kind, ("batch", 1)) for name, kind in names.items()],
        [tensor(f"{name}_out", kind, ("batch", 1)) for name, kind in names.items()],
    )


def slow() -> onnx.ModelProto:
    """Input steps int64 [batch, 1] -> rows [batch, 1]: the size of the batch, after the largest number of slow steps.

    A step multiplies matrices for some 10 ms.
    """
    step = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]), helper.make_node("MatMul", ["h", "square"], ["next_h"])],
        "step",
        [
            tensor("number", TensorProto.INT64, ()),
            tensor("going", TensorProto.BOOL, ()),
            tensor("h", TensorProto.FLOAT, None),
        ],
        [tensor("goes_on", TensorProto.BOOL, ()), tensor("next_h", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("ReduceMax", ["steps"], ["count"], keepdims=0),
        helper.make_node("Loop", ["count", "", "start"], ["end"], body=step),
        helper.make_node("ReduceMax", ["end"], ["zero"], keepdims=0),
        helper.make_node("Cast", ["zero"], ["zero_rows"], to=TensorProto.INT64),
        helper.make_node("Shape", ["steps"], ["size"], start=0, end=1),
        helper.make_node("Mul", ["steps", "zero_rows"], ["zeros"]),
        helper.make_node("Add", ["zeros", "size"], ["rows"]),
    ]
    initializers = {"start": np.zeros((500, 1000), np.float32), "square": np.zeros((1000, 1000), np.float32)}
    return model(
        nodes,
        [tensor("steps", TensorProto.INT64, ("batch", 1))],
        [tensor("rows", TensorProto.INT64, ("batch", 1))],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )


def encoder(width: int = 384) -> onnx.ModelProto:
    """Inputs input_ids and attention_mask int64 [batch, seq] -> embedding float32 [batch, width]; a sum, spread out."""
    ones = numpy_helper.from_array(np.ones((1, width), dtype=np.float32), "ones")
    axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    names = ("input_ids", "attention_mask")
    return model(
        [
            helper.make_node("Mul", list(names), ["kept"]),
            helper.make_node("Cast", ["kept"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["numbers", "axis"], ["sum"], keepdims=1),
            helper.make_node("Mul", ["sum", "ones"], ["embedding"]),
        ],
        [tensor(name, TensorProto.INT64, ("batch", "seq")) for name in names],
        [tensor("embedding", TensorProto.FLOAT, ("batch", width))],
        [ones, axis],
    )


def write_model(repository: Path, name: str, built: onnx.ModelProto, config: str, *, version: int = 1) -> Path:
    """Writes ``<name>/config.pbtxt`` and ``<name>/<version>/model.onnx``; returns the model's folder."""
    folder = repository / name
    (folder / str(version)).mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    onnx.save(built, folder / str(version) / "model.onnx")
    return folder


def save_with_external_data(built: onnx.ModelProto, folder: Path) -> None:
    """Writes ``model.onnx`` and beside it ``weights.bin`` with every initializer, as models over 2 GB have it."""
    folder.mkdir(parents=True)
    onnx.save(built, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
