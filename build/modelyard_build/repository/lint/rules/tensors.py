"""MY20x to MY22x: inputs and outputs as config.pbtxt states them, whatever the artefact."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.tensor_texts import (
    INVALID,
    Stated,
    brackets,
    did_you_mean,
    dtype_name,
    stated_tensors,
)
from modelyard_build.repository.lint.subjects import Config

VARIABLE = -1
# Backends that complete nothing of a tensor that is listed.
_COMPLETE_NO_TENSOR = ("onnxruntime", "openvino", "pytorch", "ensemble")
_TENSORRT_PLATFORM = "tensorrt_plan"
_DTYPES = {
    "openvino": "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32",
    "pytorch": "BOOL UINT8 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING",
}
_BATCH_INPUT_DTYPES = ("TYPE_INT32", "TYPE_FP32")


@rule(
    "MY201",
    Severity.ERROR,
    summary="an input or output without a name",
    mend="Give it the name that the model has for it.",
    verdict=Verdict.REFUSES,
)
def tensor_without_name(config: Config) -> Findings:
    """A tensor is addressed by its name, in requests and in the model.

    Triton says `model input must specify 'name' for …`.
    """
    for tensor in stated_tensors(config):
        if not tensor.name:
            yield config.raised(f"{tensor.kind} {tensor.index} has no name; write the model's", *tensor.path)


@rule(
    "MY202",
    Severity.ERROR,
    summary="an input or output without data_type",
    mend="State the type that the model has.",
    verdict=Verdict.REFUSES,
)
def tensor_without_data_type(config: Config) -> Findings:
    """A backend completes a tensor that is not listed at all, not one that is listed in part.

    Triton says `model input 'x' must specify 'data_type' for …`. TensorRT's backend and a Python model with
    `auto_complete_config` do complete it, so nothing is said there.
    """
    for tensor in stated_tensors(config):
        if tensor.name and tensor.message.data_type == INVALID and not _may_be_completed(config):
            yield config.raised(f"{tensor} has no data_type; state the model's, such as TYPE_FP32", *tensor.path)


@rule(
    "MY203",
    Severity.ERROR,
    summary="an input or output without dims",
    mend="State dims; for one value write dims: [ 1 ], for any number dims: [ -1 ].",
    verdict=Verdict.REFUSES,
)
def tensor_without_dims(config: Config) -> Findings:
    """Dims may not be empty, not even for one number.

    Triton says `model input 'x' must specify 'dims' for …`. A tensor that is the batch alone is written
    `dims: [ 1 ] reshape { shape: [ ] }`.
    """
    for tensor in stated_tensors(config):
        if tensor.name and not tensor.message.dims and not _may_be_completed(config):
            yield config.raised(
                f"{tensor} has no dims; for one value write dims: [ 1 ], for any number dims: [ -1 ]", *tensor.path
            )


@rule(
    "MY204",
    Severity.ERROR,
    summary="a size that is neither 1 or more, nor -1",
    mend="Write the size, or -1 where it varies.",
    verdict=Verdict.REFUSES,
)
def size_is_none(config: Config) -> Findings:
    """Only -1 stands for a size that varies; 0 and other negative numbers mean nothing.

    Triton says `model input 'x' dimension must be integer >= 1, or -1 to indicate a variable-size dimension`.
    """
    for tensor in stated_tensors(config):
        for index, size in enumerate(tensor.message.dims):
            if not _is_size(size):
                yield config.raised(
                    f"{tensor} has {size} in dims; write the size, or -1 where it varies", *tensor.path, "dims", index
                )


@rule(
    "MY205",
    Severity.ERROR,
    summary="an input that is listed twice",
    mend="Take one of the two away.",
    verdict=Verdict.LOADS,
)
def input_listed_twice(config: Config) -> Findings:
    """The model loads, and then no request is right: each has an input too few.

    Triton says `expected 2 inputs but got 1 inputs for model …` to every request.
    """
    yield from _twice(config, "input")


@rule(
    "MY206",
    Severity.WARNING,
    summary="an output that is listed twice",
    mend="Take one of the two away.",
    verdict=Verdict.LOADS,
)
def output_listed_twice(config: Config) -> Findings:
    """Triton keeps one of the two, and does not say which."""
    yield from _twice(config, "output")


@rule(
    "MY207",
    Severity.ERROR,
    summary="an empty reshape in a model that does not batch",
    mend="Remove the reshape, or set max_batch_size.",
    verdict=Verdict.REFUSES,
)
def empty_reshape_without_batch(config: Config) -> Findings:
    """An empty `reshape` leaves the batch alone as the shape, and without a batch there is none.

    Triton says `cannot have empty reshape for non-batching model as scalar tensors are not supported`.
    """
    if config.message.max_batch_size == 0 and not _batch_may_be_completed(config):
        for tensor in stated_tensors(config):
            if tensor.message.HasField("reshape") and not tensor.message.reshape.shape:
                yield config.raised(
                    f"{tensor} has an empty reshape and max_batch_size is 0; remove the reshape, or set max_batch_size",
                    *tensor.path,
                    "reshape",
                )


@rule(
    "MY208",
    Severity.ERROR,
    summary="a reshape that does not fit its dims",
    mend="Keep the number of elements, and as many -1 in the same places between the fixed sizes.",
    verdict=Verdict.REFUSES,
)
def reshape_does_not_fit(config: Config) -> Findings:
    """A reshape only regroups sizes.

    The elements stay as many, also between two -1: `[ 2, 4, -1, 6 ]` may become `[ 8, -1, 1, 6 ]`. Triton says
    `model input 'x' has different size for dims and reshape`, or `… different number of variable-size dimensions …`.
    """
    for tensor in stated_tensors(config):
        if tensor.message.HasField("reshape") and (problem := _reshape_problem(tensor)):
            yield config.raised(f"{tensor} {problem}", *tensor.path, "reshape")


@rule(
    "MY209",
    Severity.ERROR,
    summary="an image format on a tensor that has not three dims",
    mend="Remove format, or state three dims without the batch.",
    verdict=Verdict.REFUSES,
)
def image_without_three_dims(config: Config) -> Findings:
    """`FORMAT_NHWC` and `FORMAT_NCHW` are height, width and channels, without the batch.

    Triton says `model input NHWC/NCHW require 3 dims`. The field changes nothing else; it may be left out.
    """
    formats = {1: "FORMAT_NHWC", 2: "FORMAT_NCHW"}
    for tensor in stated_tensors(config):
        dims = tensor.message.dims
        if tensor.kind == "input" and tensor.message.format in formats and dims and len(dims) != 3:
            yield config.raised(
                f"{tensor} is {formats[tensor.message.format]} and has {len(dims)} dims, expected 3; remove format",
                *tensor.path,
                "format",
            )


@rule(
    "MY210",
    Severity.ERROR,
    summary="a field that only TensorRT knows, in a model of another backend",
    mend="Remove the field.",
    verdict=Verdict.REFUSES,
)
def tensorrt_only_field(config: Config) -> Findings:
    """`is_shape_tensor` and `is_non_linear_format_io` describe a TensorRT engine, and Triton takes them nowhere else.

    It says `shape tensors are only supported for TensorRT platform`, or `Non-linear IO format is only supported …`.
    """
    if config.backend == "tensorrt" or config.message.platform == _TENSORRT_PLATFORM or not config.backend:
        return
    for tensor in stated_tensors(config):
        for field in ("is_shape_tensor", "is_non_linear_format_io"):
            if getattr(tensor.message, field):
                yield config.raised(
                    f'{tensor} has {field}, which only backend: "tensorrt" takes; remove it', *tensor.path, field
                )


@rule(
    "MY211",
    Severity.ERROR,
    summary="max_batch_size is negative",
    mend="Write 0 for a model that does not batch, otherwise the largest batch.",
    verdict=Verdict.REFUSES,
)
def negative_max_batch_size(config: Config) -> Findings:
    """0 means that requests are never joined; there is no number for "any".

    Triton says `'max_batch_size' must be non-negative value for …`.
    """
    size = config.message.max_batch_size
    if size < 0:
        yield config.raised(
            f"max_batch_size is {size}, expected 0 for no batches, or the largest batch", "max_batch_size"
        )


@rule(
    "MY212",
    Severity.ERROR,
    summary="a batch_input that cannot be made",
    mend="Name one listed input as source_input, and TYPE_INT32 or TYPE_FP32 as data_type.",
    verdict=Verdict.REFUSES,
)
def batch_input_cannot_be_made(config: Config) -> Findings:
    """A `batch_input` is made of the shapes of one input.

    Triton says `batch input kind '…' expects 1 source input, got 0`, `unknown source input name '…'` or
    `batch input data type must be TYPE_INT32 or TYPE_FP32`.
    """
    inputs = [tensor.name for tensor in config.message.input]
    for index, entry in enumerate(config.message.batch_input):
        dtype = dtype_name(entry.data_type)
        if dtype not in _BATCH_INPUT_DTYPES:
            yield config.raised(
                f"batch_input {index} is {dtype}, expected TYPE_INT32 or TYPE_FP32", "batch_input", index, "data_type"
            )
        if problem := _source_problem(entry.source_input, inputs):
            yield config.raised(f"batch_input {index} {problem}", "batch_input", index, "source_input")


@rule(
    "MY213",
    Severity.ERROR,
    summary="a batch_output that cannot be cut up",
    mend="Name listed outputs as target_name, each once, and one listed input as source_input.",
    verdict=Verdict.REFUSES,
)
def batch_output_cannot_be_cut(config: Config) -> Findings:
    """A `batch_output` is cut up by the shapes of one input.

    Triton says `unknown target output name '…'`, `target output name '…' can only be specified once`,
    `unknown source input name '…'` or `batch output kind '…' expects 1 source input, got 2`.
    """
    inputs = [tensor.name for tensor in config.message.input]
    outputs = [tensor.name for tensor in config.message.output]
    for index, entry in enumerate(config.message.batch_output):
        if problem := _source_problem(entry.source_input, inputs):
            yield config.raised(f"batch_output {index} {problem}", "batch_output", index, "source_input")
        for place, name in enumerate(entry.target_name):
            path = ("batch_output", index, "target_name", place)
            if name not in outputs:
                yield config.raised(f"batch_output {index} has the target {name!r}, which is no output", *path)
            elif name in entry.target_name[:place]:
                yield config.raised(f"batch_output {index} has the target {name!r} twice; remove one", *path)


@rule(
    "MY214",
    Severity.ERROR,
    summary="a data_type that the backend does not serve",
    mend="Convert in the model, and state a type that the backend has.",
    verdict=Verdict.REFUSES,
)
def data_type_not_served(config: Config) -> Findings:
    """Triton has more types than OpenVINO and PyTorch share with it.

    The openvino backend has no strings, no FP64 and no BF16; the pytorch backend no unsigned types but UINT8, and no
    BF16.
    """
    served = [f"TYPE_{name}" for name in _DTYPES.get(config.backend, "").split()]
    if not served:
        return
    for tensor in stated_tensors(config):
        dtype = dtype_name(tensor.message.data_type)
        if tensor.message.data_type != INVALID and dtype not in served:
            yield config.raised(
                f"{tensor} is {dtype}, which the {config.backend} backend does not serve; it has {', '.join(served)}",
                *tensor.path,
                "data_type",
            )


@rule(
    "MY215",
    Severity.ERROR,
    summary="TYPE_BF16 for the onnxruntime backend",
    mend="Convert to FP32 or FP16 at the ends of the model; inside, bfloat16 is fine.",
    verdict=Verdict.UNSEEN,
)
def bfloat16_for_onnxruntime(config: Config) -> Findings:
    """The onnxruntime backend of NVIDIA's container refuses bfloat16 inputs and outputs.

    The embedded Triton serves them, so that this is seen on the day of the deployment
    ([server#8464](https://github.com/triton-inference-server/server/issues/8464)).
    """
    if config.backend != "onnxruntime":
        return
    for tensor in stated_tensors(config):
        if dtype_name(tensor.message.data_type) == "TYPE_BF16":
            yield config.raised(
                f"{tensor} is TYPE_BF16, which the onnxruntime backend of NVIDIA's container refuses; cast to FP32 at "
                "the ends of the model",
                *tensor.path,
                "data_type",
            )


@rule(
    "MY216",
    Severity.ERROR,
    summary="a pytorch model whose inputs or outputs are not listed",
    mend="List every input and output with name, data_type and dims.",
    verdict=Verdict.REFUSES,
)
def pytorch_lists_nothing(config: Config) -> Findings:
    """A PyTorch model tells neither types nor shapes, so that nothing can be completed."""
    if config.backend != "pytorch":
        return
    for kind in ("input", "output"):
        if not getattr(config.message, kind):
            yield config.raised(f"no {kind} is listed, and a PyTorch model does not tell its own; list every {kind}")


@rule(
    "MY217",
    Severity.ERROR,
    summary="a pytorch string tensor of more than one dimension",
    mend="Write dims: [ 1 ] reshape { shape: [ ] } with batching, dims: [ -1 ] without.",
    verdict=Verdict.REFUSES,
)
def pytorch_strings_of_one_dimension(config: Config) -> Findings:
    """PyTorch takes strings as `List[str]`, which has one dimension; where the model batches, that is the batch."""
    if config.backend != "pytorch":
        return
    batches = config.message.max_batch_size > 0
    for tensor in stated_tensors(config):
        rank = len(tensor.shape) + batches
        if dtype_name(tensor.message.data_type) == "TYPE_STRING" and tensor.message.dims and rank > 1:
            mend = "dims: [ 1 ] reshape { shape: [ ] }" if batches else "dims: [ -1 ]"
            yield config.raised(
                f"{tensor} is TYPE_STRING and has {rank} dimensions{' with the batch' * batches}, expected one; "
                f"write {mend}",
                *tensor.path,
                "dims",
            )


@rule(
    "MY218",
    Severity.ERROR,
    summary="optional: true where the backend needs every input",
    mend="Remove optional: true.",
    verdict=Verdict.REFUSES,
)
def optional_not_served(config: Config) -> Findings:
    """An engine, a PyTorch module and an OpenVINO model need all of their inputs; onnxruntime while it batches, too.

    An ONNX model may have defaults (initializers) for inputs, and these are served with `max_batch_size: 0` only.
    """
    backend, size = config.backend, config.message.max_batch_size
    if backend in ("openvino", "pytorch", "tensorrt", "tensorrt_rtx"):
        why = f"which the {backend} backend does not serve; remove it"
    elif backend == "onnxruntime" and size > 0:
        why = f"and max_batch_size is {size}; optional inputs need max_batch_size: 0"
    else:
        return
    for tensor in stated_tensors(config):
        if tensor.kind == "input" and tensor.message.optional:
            yield config.raised(f"{tensor} is optional, {why}", *tensor.path, "optional")


@rule(
    "MY219",
    Severity.ERROR,
    summary="a field of tensors that the openvino backend does not serve",
    mend="Remove the field, or serve the model with another backend.",
    verdict=Verdict.REFUSES,
)
def field_not_served_by_openvino(config: Config) -> Findings:
    """The openvino backend hands over the inputs of the requests, joined along the batch, and nothing else.

    Ragged batches, `batch_input`, `batch_output` and the controls of a sequence never reach the model.
    """
    if config.backend != "openvino":
        return
    for tensor in stated_tensors(config):
        if tensor.kind == "input" and tensor.message.allow_ragged_batch:
            path = (*tensor.path, "allow_ragged_batch")
            yield config.raised(f"{tensor} has allow_ragged_batch, which openvino does not serve; remove it", *path)
    for field in ("batch_input", "batch_output"):
        if any(entry.target_name for entry in getattr(config.message, field)):
            yield config.raised(f"{field} is not served by the openvino backend; remove it", field)
    if config.message.sequence_batching.control_input:
        yield config.raised(
            "control_input is not served by the openvino backend; remove it", "sequence_batching", "control_input"
        )


@rule(
    "MY220",
    Severity.WARNING,
    summary="batch_input or batch_output in a Python model",
    mend="Remove it, and compute the tensor in execute().",
    verdict=Verdict.LOADS,
)
def batch_io_in_python(config: Config) -> Findings:
    """Triton leaves these tensors to the backend, and the Python backend does not make them: nothing arrives."""
    if config.backend == "python":
        for field in ("batch_input", "batch_output"):
            if getattr(config.message, field):
                yield config.raised(
                    f"{field} is not made by the python backend; compute it in execute(), and remove it", field
                )


@rule(
    "MY221",
    Severity.WARNING,
    summary="a Python model without inputs or without outputs",
    mend="List them, or complete them in auto_complete_config.",
    verdict=Verdict.LOADS,
)
def python_lists_nothing(config: Config) -> Findings:
    """The model loads, and Triton takes the missing list for an empty one.

    It says `expected 0 inputs but got 1 inputs for model …` to every request that has an input.
    """
    if config.backend != "python" or _may_be_completed(config):
        return
    for kind in ("input", "output"):
        if not getattr(config.message, kind):
            yield config.raised(f"no {kind} is listed, so no request may have any; list every {kind}")


@rule(
    "MY222",
    Severity.WARNING,
    summary="an OpenVINO model that serves whole batches only",
    mend="Set the parameter ENABLE_BATCH_PADDING to YES, or max_batch_size to 0 or 1.",
    verdict=Verdict.LOADS,
)
def openvino_serves_whole_batches(config: Config) -> Findings:
    """The openvino backend compiles a model for exactly `max_batch_size` items and refuses fewer.

    With `ENABLE_BATCH_PADDING` it takes fewer, too.
    """
    size = config.message.max_batch_size
    padding = config.message.parameters["ENABLE_BATCH_PADDING"].string_value if _has_padding(config) else ""
    if config.backend == "openvino" and size > 1 and padding.lower() != "yes":
        yield config.raised(
            f"max_batch_size is {size}, and without the parameter ENABLE_BATCH_PADDING: YES every batch of fewer "
            f"than {size} is refused",
            "max_batch_size",
        )


def _has_padding(config: Config) -> bool:
    return "ENABLE_BATCH_PADDING" in config.message.parameters


def _may_be_completed(config: Config) -> bool:
    """Whether the backend may fill in what a listed tensor lacks; also where it cannot be known."""
    if config.backend in _COMPLETE_NO_TENSOR:
        return False
    if config.backend != "python":
        return True
    artefacts = config.artefacts
    return not artefacts or any(artefact.details.get("completes", True) for _, artefact in artefacts)


def _batch_may_be_completed(config: Config) -> bool:
    """Whether max_batch_size 0 may become another."""
    if config.backend == "onnxruntime":
        return not (config.message.input and config.message.output)
    return config.backend not in ("pytorch", "ensemble") and (config.backend == "openvino" or _may_be_completed(config))


def _is_size(size: int) -> bool:
    return size >= 1 or size == VARIABLE


def _twice(config: Config, kind: str) -> Findings:
    counted: Counter[str] = Counter()
    for tensor in stated_tensors(config):
        if tensor.kind == kind and tensor.name:
            counted[tensor.name] += 1
            if counted[tensor.name] > 1:
                yield config.raised(f"{tensor} is listed twice; take one of the two away", *tensor.path)


def _reshape_problem(tensor: Stated) -> str:
    dims, shape = list(tensor.message.dims), list(tensor.message.reshape.shape)
    wrong = [size for size in shape if not _is_size(size)]
    if wrong:
        return f"has {wrong[0]} in reshape; write the size, or -1 where it varies"
    if not dims or not all(map(_is_size, dims)):
        return ""
    expected, got = list(_runs(dims)), list(_runs(shape))
    if len(expected) != len(got):
        return (
            f"has {len(expected) - 1} times -1 in dims {brackets(dims)} and {len(got) - 1} times in its reshape "
            f"{brackets(shape)}; a reshape keeps them"
        )
    for before, after in zip(expected, got, strict=True):
        if before != after:
            return f"has {before} elements in dims {brackets(dims)} and {after} in its reshape {brackets(shape)}"
    return ""


def _runs(sizes: Sequence[int]) -> Iterator[int]:
    """The elements before, between and after the sizes that vary."""
    run: list[int] = []
    for size in sizes:
        if size == VARIABLE:
            yield math.prod(run)
            run = []
        else:
            run.append(size)
    yield math.prod(run)


def _source_problem(sources: Sequence[Any], inputs: list[str]) -> str:
    if len(sources) != 1:
        return f"has {len(sources)} source_input, expected one"
    if sources[0] not in inputs:
        return f"has the source_input {sources[0]!r}, which is no input{did_you_mean(str(sources[0]), inputs)}"
    return ""
