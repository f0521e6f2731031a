"""nn.Module -> ONNX, with the declared names, dtypes and dynamic axes, and nothing else in the file.

The example that is traced has a batch of 3 and no axis at its limits: tracing specialises sizes of 1 silently
(pytorch#148886), and equal sizes of two axes would hide that they were taken for one.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import shape_inference
from torch import nn
from torch.export import Dim

from modelyard_build import graph_files
from modelyard_build.errors import ExportFailed
from modelyard_build.export_errors import in_words, narrowed
from modelyard_build.export_guards import Guards, watched
from modelyard_build.model import NUMPY_DTYPES, Arrays, Axis, Model, Tensor
from modelyard_build.module_checks import check_forward, check_module, examples_of, first_line
from modelyard_build.repository.releases import Release
from modelyard_build.weight_checks import check_epsilons, check_weights

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


def export(
    model: Model,
    module: nn.Module,
    files: Mapping[str, Path],
    translations: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
) -> onnx.ModelProto:
    """Writes the module as an ONNX graph; the same module gives the same bytes.

    Args:
        model: the declaration.
        module: what `model.load` gave: float32, eval mode, on the CPU.
        files: the fetched assets.
        translations: ONNX forms of operators that torch.onnx does not know: its custom_translation_table.

    Returns:
        A checked graph whose inputs and outputs are as declared. It may hold more than protobuf can serialise:
        `graph_files.save` writes it.

    Raises:
        ExportFailed: the module or its examples are not as declared, PyTorch refused, or the graph is not as declared.
    """
    sizes = traced_sizes(model)
    example = traced_example(model, files)
    check_module(model, module)
    check_forward(model, module, example, sizes)
    program = _trace(model, module, example, translations or {})
    proto = ir.to_proto(_clean(program.model, model))
    check_weights(model, module, proto)
    check_epsilons(model, module, proto)
    return check(model, proto)


def traced_example(model: Model, files: Mapping[str, Path]) -> Arrays:
    """What is traced: a batch, or one item where the model does not batch."""
    example = examples_of(model, files, TRACED_BATCH, traced_sizes(model))
    return example if model.max_batch_size else {name: array[0] for name, array in example.items()}


def _trace(
    model: Model, module: nn.Module, example: Arrays, translations: Mapping[Callable[..., Any], Callable[..., Any]]
) -> torch.onnx.ONNXProgram:
    guards = Guards(model)
    try:
        with _quiet(), watched(guards):
            program = torch.onnx.export(
                module,
                (),
                kwargs={tensor.name: torch.from_numpy(example[tensor.name]) for tensor in model.inputs},
                dynamo=True,
                input_names=[tensor.name for tensor in model.inputs],
                # An output named like an inner value makes a graph that no runtime loads; see `_clean`.
                output_names=[_PREFIX + tensor.name for tensor in model.outputs],
                dynamic_shapes=dynamic_shapes(model),
                opset_version=model.opset,
                custom_translation_table=dict(translations),
                verbose=False,
            )
    except Exception as error:
        raise ExportFailed(f"{model.name}: {in_words(error, guards)}") from error
    if violated := guards.violated():
        raise ExportFailed(f"{model.name}: {narrowed(*violated)}")
    if program is None or program.exported_program is None:
        raise ExportFailed(f"{model.name}: PyTorch exported nothing and gave no reason.")
    _check_ranges(model, program.exported_program)
    return program


def _check_ranges(model: Model, program: torch.export.ExportedProgram) -> None:
    """Holds the sizes that the traced program accepts against the declared ones: torch.onnx narrows them silently."""
    inputs = {tensor.name: tensor for tensor in model.inputs}
    for node in program.graph.find_nodes(op="placeholder"):
        dims = inputs[node.name].dims if node.name in inputs else ()
        first = 1 if model.max_batch_size else 0
        for dim, size in zip(dims, node.meta["val"].shape[first:] if dims else (), strict=True):
            bounds = program.range_constraints.get(size.node.expr) if isinstance(size, torch.SymInt) else None
            if bounds is None or not isinstance(dim, Axis):
                continue
            # A size of 1 or less is never traced: torch leaves it open.
            if bounds.upper < dim.max or bounds.lower > max(dim.min, 2):
                raise ExportFailed(
                    f"{model.name}: tracing narrowed axis {dim.name!r} of input {node.name!r} to {bounds.lower} to "
                    f"{bounds.upper}; declared is {dim.min} to {dim.max}. Look for Python code in forward that depends "
                    "on that size, or declare the axis as it is."
                )


def dynamic_shapes(model: Model) -> dict[str, dict[int, Dim]]:
    """The declared batch and axes of each input, by dimension, as torch.export takes them."""
    # A model that is served one item at a time is traced with more all the same.
    batch = Dim("batch", min=1, max=max(model.max_batch_size, TRACED_BATCH + 1))
    first = {0: batch} if model.max_batch_size else {}
    dims = {axis.name: Dim(axis.name, min=axis.min, max=axis.max) for axis in axes_of(model)}
    return {
        tensor.name: {
            **first,
            **{at: dims[dim.name] for at, dim in enumerate(tensor.dims, len(first)) if isinstance(dim, Axis)},
        }
        for tensor in model.inputs
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's chatter (deprecations of its own calls, drawings of graphs) off the terminal."""
    captured = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(captured), contextlib.redirect_stderr(captured):
        warnings.simplefilter("ignore")
        yield


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
    """Holds a graph of any size against the declaration: valid ONNX, and exactly the declared inputs and outputs.

    Returns:
        The same graph, with the shapes of its values and outputs filled in.

    Raises:
        ExportFailed: naming the tensor, what it is and what was declared.
    """
    try:
        inferred = graph_files.infer_shapes(proto)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        raise ExportFailed(f"{model.name}: the exported graph is not valid ONNX: {first_line(error)}.") from error
    for field in ("value_info", "output"):
        del getattr(proto.graph, field)[:]
        getattr(proto.graph, field).extend(getattr(inferred.graph, field))
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
        batch = ["batch"] if model.max_batch_size else []
        if dtype != np.dtype(NUMPY_DTYPES[tensor.dtype]) or not _shape_fits(shape, [*batch, *tensor.dims]):
            dims = [dim.name if isinstance(dim, Axis) else str(dim) for dim in tensor.dims]
            expected = ", ".join([*batch, *dims])
            actual_shape = ", ".join(map(str, shape))
            raise ExportFailed(
                f"{model.name}: {role} {tensor.name!r} is {dtype} [{actual_shape}] in the graph, declared "
                f"is {tensor.dtype} [{expected}]. A number where a name is declared means that tracing fixed the axis: "
                "look for Python code in forward that depends on that size."
            )


def _shape_fits(shape: Sequence[str | int], declared: Sequence[str | int | Axis]) -> bool:
    """The batch and every `Axis` symbolic, every other dimension the declared number."""
    return len(shape) == len(declared) and all(
        size == dim if isinstance(dim, int) else isinstance(size, str)
        for size, dim in zip(shape, declared, strict=True)
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
