"""MY212, MY213 and MY220: tensors that are made for a whole batch, batch_input and batch_output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.tensor_texts import did_you_mean, dtype_name
from modelyard_build.repository.lint.subjects import Config

_BATCH_INPUT_DTYPES = ("TYPE_INT32", "TYPE_FP32")


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


def _source_problem(sources: Sequence[Any], inputs: list[str]) -> str:
    if len(sources) != 1:
        return f"has {len(sources)} source_input, expected one"
    if sources[0] not in inputs:
        return f"has the source_input {sources[0]!r}, which is no input{did_you_mean(str(sources[0]), inputs)}"
    return ""
