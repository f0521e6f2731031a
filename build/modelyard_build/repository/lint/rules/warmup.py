"""MY133 to MY138: samples that warm a model up, and whether they fit it."""

from __future__ import annotations

from typing import Any

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import headers
from modelyard_build.repository.lint.rules.samples import run_samples, stated_samples
from modelyard_build.repository.lint.rules.tensor_texts import (
    INVALID,
    VARIABLE,
    brackets,
    did_you_mean,
    dtype_name,
    model_py_may_complete,
)
from modelyard_build.repository.lint.subjects import Config


@rule(
    "MY133",
    Severity.ERROR,
    summary="a warmup sample does not fit the model's input",
    mend="Give it the data_type of the input, and its dims with a size for each -1; without the batch.",
    verdict=Verdict.REFUSES,
)
def sample_does_not_fit(config: Config) -> Findings:
    """A sample is a request, held to the same rules.

    Triton says `inference input 'x' data-type is 'INT64', but model … expects 'FP32'`, `unexpected shape for input 'x'
    … Expected [-1,4], got [1,5]`, or `warmup setting expects all variable-size dimensions are specified for input 'x'`.
    """
    inputs = {message.name: message for message in config.message.input}
    for sample in run_samples(config):
        for name, given in sample.message.inputs.items():
            if problem := _input_problem(config, given, inputs.get(name)):
                yield config.raised(f"{sample}: {name!r} {problem}", *sample.path, "inputs", name)


def _input_problem(config: Config, given: Any, expected: Any) -> str:
    """Why a sample's input is refused; empty: it is not, or that is not known."""
    if VARIABLE in given.dims:
        return f"has dims {brackets(given.dims)}; a sample has a size in place of -1"
    if expected is None:
        return ""
    if expected.data_type not in (INVALID, given.data_type):
        return f"is {dtype_name(given.data_type)}, the model's input is {dtype_name(expected.data_type)}"
    if expected.is_shape_tensor or not expected.dims or not _knows_its_batch(config):
        return ""
    if len(given.dims) != len(expected.dims) or any(
        wanted not in (VARIABLE, size) for size, wanted in zip(given.dims, expected.dims, strict=True)
    ):
        return (
            f"has dims {brackets(given.dims)}, the model's input {brackets(expected.dims)}; both go without the batch"
        )
    return ""


def _knows_its_batch(config: Config) -> bool:
    return config.message.max_batch_size > 0 or _keeps_its_batch(config)


def _keeps_its_batch(config: Config) -> bool:
    """Whether max_batch_size 0 stays so: nothing is left for the backend to complete."""
    if not (config.message.input and config.message.output):
        return False
    if config.backend == "python":
        return not model_py_may_complete(config)
    return config.backend in ("onnxruntime", "pytorch")


@rule(
    "MY134",
    Severity.ERROR,
    summary="a warmup sample lacks an input",
    mend="Add the input to the sample.",
    verdict=Verdict.REFUSES,
)
def sample_lacks_an_input(config: Config) -> Findings:
    """A sample is a request, and has every input that is not optional.

    Triton says `expected 1 inputs but got 0 inputs for model … missing required input(s) ['x']`.
    """
    for sample in run_samples(config):
        missing = [name for name in _required_inputs(config) if name not in sample.message.inputs]
        if missing:
            listed = ", ".join(map(repr, missing))
            yield config.raised(f"{sample} lacks {listed}; add it, zero_data: true is enough", *sample.path)


def _required_inputs(config: Config) -> list[str]:
    """Those that the config lists; where it lists none, those that the onnxruntime backend takes out of the graph."""
    if config.message.input:
        return [message.name for message in config.message.input if message.name and not message.optional]
    found = [tensor.name for header in headers(config, ("onnxruntime",)) for tensor in header.artefact.inputs or ()]
    return list(dict.fromkeys(found))


@rule(
    "MY135",
    Severity.WARNING,
    summary="a warmup sample has an input that the model has not",
    mend="Correct the name, or take the input away.",
    verdict=Verdict.LOADS,
)
def sample_has_an_unknown_input(config: Config) -> Findings:
    """Triton does not mention it: what the sample was to warm up stays cold."""
    names = [message.name for message in config.message.input]
    if not names or not config.message.output:
        return
    for sample in run_samples(config):
        for name in sample.message.inputs:
            if name not in names:
                yield config.raised(
                    f"{sample} has an input {name!r}, the model has {', '.join(names)}{did_you_mean(name, names)}",
                    *(*sample.path, "inputs", name),
                )


@rule(
    "MY136",
    Severity.ERROR,
    summary="a warmup sample is larger than max_batch_size",
    mend="Set the sample's batch_size to max_batch_size at most; to 1 where that is 0.",
    verdict=Verdict.REFUSES,
)
def sample_is_too_large(config: Config) -> Findings:
    """Triton says `failed to run warmup sample '…': batch size 9 for …, max allowed is 4`.

    The whole server may end with that: of Triton 2.51 up to every second load of a model whose warmup fails is a
    `signal 11 (SIGSEGV)`.
    """
    most = config.message.max_batch_size
    if most < 0 or (not most and not _keeps_its_batch(config)):
        return
    for sample in run_samples(config):
        size = sample.message.batch_size
        if size > max(most, 1):
            yield config.raised(
                f"{sample} has batch_size {size}, and max_batch_size is {most}; at most {max(most, 1)} is expected",
                *(*sample.path, "batch_size"),
            )


@rule(
    "MY137",
    Severity.WARNING,
    summary="a warmup sample that is never run",
    mend="Set its batch_size to 1 or more.",
    verdict=Verdict.LOADS,
)
def sample_is_skipped(config: Config) -> Findings:
    """A sample without batch_size has 0, and Triton skips it: the first request pays for the start."""
    for sample in stated_samples(config):
        if not sample.message.batch_size:
            yield config.raised(
                f"{sample} has batch_size 0, so it is skipped; write batch_size: 1", *sample.path, "batch_size"
            )


@rule(
    "MY138",
    Severity.ERROR,
    summary="a warmup sample does not say where its data comes from",
    mend="State zero_data: true, random_data: true, or input_data_file.",
    verdict=Verdict.REFUSES,
)
def sample_without_data(config: Config) -> Findings:
    """Triton says `warmup setting expects input 'x' to have input_data_type set`."""
    for sample in run_samples(config):
        for name, given in sample.message.inputs.items():
            if not given.WhichOneof("input_data_type"):
                yield config.raised(
                    f"{sample}: {name!r} has no data; state zero_data: true, or input_data_file",
                    *(*sample.path, "inputs", name),
                )
