"""nn.Module -> ONNX, with the declared names, dtypes and dynamic axes, and nothing else in the file.

The example that is traced has a batch of 3 and no axis at its limits: tracing specialises sizes of 1 silently
(pytorch#148886), and equal sizes of two axes would hide that they were taken for one.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import shape_inference
from torch import nn
from torch.export import Dim

from modelyard_build.errors import ExportFailed
from modelyard_build.model import NUMPY_DTYPES, Arrays, Axis, Model, Tensor
from modelyard_build.repository.releases import Release

TRACED_BATCH = 3
_PREFIX = "graph_output_"


def traced_sizes(model: Model) -> dict[str, int]:
    """A size for every axis that no other axis, the batch, or the axis's limits have."""
    sizes: dict[str, int] = {}
    for axis in axes_of(model):
        taken = {TRACED_BATCH, axis.min, axis.max, *sizes.values()}
        free = [size for size in range(max(axis.min, 4), axis.max) if size not in taken]
        if not free:
            raise ExportFailed(
                f"{model.name}: axis {axis.name!r} spans {axis.min} to {axis.max}, which leaves no size to trace it "
                "with. Widen it, or declare the dimension as a fixed number."
            )
        sizes[axis.name] = free[0]
    return sizes


def axes_of(model: Model) -> list[Axis]:
    """Every axis that the inputs declare, each once."""
    found = {dim.name: dim for tensor in model.inputs for dim in tensor.dims if isinstance(dim, Axis)}
    return list(found.values())


def export(model: Model, module: nn.Module, files: Mapping[str, Path]) -> onnx.ModelProto:
    """Writes the module as an ONNX graph.

    Args:
        model: the declaration.
        module: what `model.load` gave: float32, eval mode.
        files: the fetched assets.

    Returns:
        A checked graph whose inputs and outputs are as declared.

    Raises:
        ExportFailed: PyTorch refused, or the graph is not as declared.
    """
    example = model.examples(files, TRACED_BATCH, traced_sizes(model))
    program = _trace(model, module, example)
    graph = _clean(program.model, model)
    return check(model, ir.to_proto(graph))


def _trace(model: Model, module: nn.Module, example: Arrays) -> torch.onnx.ONNXProgram:
    inputs = {tensor.name: torch.from_numpy(example[tensor.name]) for tensor in model.inputs}
    captured = io.StringIO()
    try:
        with _quiet(captured):
            program = torch.onnx.export(
                module,
                (),
                kwargs=inputs,
                dynamo=True,
                input_names=[tensor.name for tensor in model.inputs],
                # An output named like an inner value makes a graph that no runtime loads; see `_clean`.
                output_names=[_PREFIX + tensor.name for tensor in model.outputs],
                dynamic_shapes=_dynamic_shapes(model),
                opset_version=model.opset,
                verbose=False,
            )
    except Exception as error:
        raise ExportFailed(f"{model.name}: PyTorch could not export the module: {_reason(error)}") from error
    if program is None:
        raise ExportFailed(f"{model.name}: PyTorch exported nothing and gave no reason.")
    return program


def _dynamic_shapes(model: Model) -> dict[str, dict[int, Dim]]:
    batch = Dim("batch", min=1, max=model.max_batch_size)
    dims = {axis.name: Dim(axis.name, min=axis.min, max=axis.max) for axis in axes_of(model)}
    return {
        tensor.name: {
            0: batch,
            **{at: dims[dim.name] for at, dim in enumerate(tensor.dims, 1) if isinstance(dim, Axis)},
        }
        for tensor in model.inputs
    }


@contextlib.contextmanager
def _quiet(captured: io.StringIO) -> Iterator[None]:
    """Keeps the exporter's chatter (absent torchvision, deprecations of its own calls) off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(captured), contextlib.redirect_stderr(captured):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The innermost cause: the exporter wraps the sentence that helps in several that do not."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4]) or type(error).__name__


def _clean(graph_model: ir.Model, model: Model) -> ir.Model:
    """Frees the declared output names, and drops stack traces and paths of the machine that exported."""
    graph = graph_model.graph
    names = {tensor.name for tensor in model.outputs}
    for value in _values(graph):
        if value.name in names:
            value.name = f"inner_{value.name}"
        value.metadata_props.clear()
    for node in graph:
        node.metadata_props.clear()
    for value in graph.outputs:
        value.name = (value.name or "").removeprefix(_PREFIX)
    graph.metadata_props.clear()
    graph_model.metadata_props.clear()
    graph.name = model.name
    graph.doc_string = None
    return graph_model


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def check(model: Model, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Holds a graph against the declaration: valid ONNX, and exactly the declared inputs and outputs.

    Raises:
        ExportFailed: naming the tensor, what it is and what was declared.
    """
    try:
        onnx.checker.check_model(proto, full_check=True)
        proto = shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        raise ExportFailed(f"{model.name}: the exported graph is not valid ONNX: {_reason(error)}") from error
    _check_tensors(model, "input", proto.graph.input, model.inputs)
    _check_tensors(model, "output", proto.graph.output, model.outputs)
    return proto


def _check_tensors(model: Model, role: str, found: Iterable[onnx.ValueInfoProto], declared: tuple[Tensor, ...]) -> None:
    actual = {value.name: value.type.tensor_type for value in found}
    if list(actual) != [tensor.name for tensor in declared]:
        raise ExportFailed(
            f"{model.name}: the graph's {role}s are {', '.join(actual)}; declared are "
            f"{', '.join(tensor.name for tensor in declared)}. Mend the declaration or the module's forward."
        )
    for tensor in declared:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(actual[tensor.name].elem_type)
        shape = tuple(dim.dim_param or dim.dim_value for dim in actual[tensor.name].shape.dim)
        if dtype != np.dtype(NUMPY_DTYPES[tensor.dtype]) or not _shape_fits(shape, tensor):
            dims = [dim.name if isinstance(dim, Axis) else str(dim) for dim in tensor.dims]
            expected = ", ".join(["batch", *dims])
            actual_shape = ", ".join(map(str, shape))
            raise ExportFailed(
                f"{model.name}: {role} {tensor.name!r} is {dtype} [{actual_shape}] in the graph, declared "
                f"is {tensor.dtype} [{expected}]. A number where a name is declared means that tracing fixed the axis: "
                "look for Python code in forward that depends on that size."
            )


def _shape_fits(shape: tuple[str | int, ...], tensor: Tensor) -> bool:
    """The batch and every `Axis` symbolic, every other dimension the declared number."""
    if len(shape) != len(tensor.dims) + 1 or not isinstance(shape[0], str):
        return False
    return all(
        isinstance(size, str) if isinstance(dim, Axis) else size == dim
        for size, dim in zip(shape[1:], tensor.dims, strict=True)
    )


def check_release(model: Model, proto: onnx.ModelProto, release: Release) -> None:
    """Holds the graph's IR and opset against what the ONNX Runtime of a Triton release reads.

    Raises:
        ExportFailed: the release is too old for the graph.
    """
    opset = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if opset > release.max_opset or proto.ir_version > release.max_ir_version:
        raise ExportFailed(
            f"{model.name}: the graph has opset {opset} and IR {proto.ir_version}; ONNX Runtime "
            f"{release.onnxruntime} of Triton {release.name} reads up to opset {release.max_opset} and IR "
            f"{release.max_ir_version}. Declare a lower opset, or serve with a newer release."
        )
