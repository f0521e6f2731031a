"""MY201 to MY206 and MY209 to MY211: inputs and outputs as config.pbtxt states them, whatever the artefact."""

from __future__ import annotations

from collections import Counter

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.tensor_texts import INVALID, is_size, may_be_completed, stated_tensors
from modelyard_build.repository.lint.subjects import Config

_TENSORRT_PLATFORM = "tensorrt_plan"


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
        if tensor.name and tensor.message.data_type == INVALID and not may_be_completed(config):
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
        if tensor.name and not tensor.message.dims and not may_be_completed(config):
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
            if not is_size(size):
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


def _twice(config: Config, kind: str) -> Findings:
    counted: Counter[str] = Counter()
    for tensor in stated_tensors(config):
        if tensor.kind == kind and tensor.name:
            counted[tensor.name] += 1
            if counted[tensor.name] > 1:
                yield config.raised(f"{tensor} is listed twice; take one of the two away", *tensor.path)
