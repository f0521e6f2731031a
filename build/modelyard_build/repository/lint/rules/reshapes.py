"""MY207 and MY208: what a reshape may make of dims."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.tensor_texts import (
    VARIABLE,
    Stated,
    brackets,
    is_size,
    may_be_completed,
    stated_tensors,
)
from modelyard_build.repository.lint.subjects import Config


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


def _batch_may_be_completed(config: Config) -> bool:
    """Whether max_batch_size 0 may become another."""
    if config.backend == "onnxruntime":
        return not (config.message.input and config.message.output)
    return config.backend not in ("pytorch", "ensemble") and (config.backend == "openvino" or may_be_completed(config))


def _reshape_problem(tensor: Stated) -> str:
    dims, shape = list(tensor.message.dims), list(tensor.message.reshape.shape)
    wrong = [size for size in shape if not is_size(size)]
    if wrong:
        return f"has {wrong[0]} in reshape; write the size, or -1 where it varies"
    if not dims or not all(map(is_size, dims)):
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
