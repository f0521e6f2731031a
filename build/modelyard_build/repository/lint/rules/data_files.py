"""MY13x and MY14x: samples that warm a model up, initial states, labels: the files, and whether they fit the config."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import headers
from modelyard_build.repository.lint.rules.tensor_texts import (
    INVALID,
    VARIABLE,
    brackets,
    did_you_mean,
    dtype_name,
    model_py_may_complete,
)
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path as FieldPath

WARMUP = "warmup"
INITIAL_STATE = "initial_state"
_BYTES = {
    **dict.fromkeys(("TYPE_BOOL", "TYPE_UINT8", "TYPE_INT8"), 1),
    **dict.fromkeys(("TYPE_UINT16", "TYPE_INT16", "TYPE_FP16", "TYPE_BF16"), 2),
    **dict.fromkeys(("TYPE_UINT32", "TYPE_INT32", "TYPE_FP32"), 4),
    **dict.fromkeys(("TYPE_UINT64", "TYPE_INT64", "TYPE_FP64"), 8),
}
_STRING = "TYPE_STRING"
# A string in a sample: its length, then its bytes.
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class DataFile:
    """A file that a config names.

    Attributes:
        folder: of the model's, that Triton looks in; empty: the model's own.
        name: as stated.
        path: of the field.
        dtype: of its elements.
        dims: of its elements; empty where it has none.
    """

    folder: str
    name: str
    path: FieldPath
    dtype: str = ""
    dims: tuple[int, ...] = ()

    @property
    def relative(self) -> str:
        """Its place in the model's folder."""
        return f"{self.folder}/{self.name}" if self.folder else self.name

    @property
    def elements(self) -> int | None:
        """How many elements it must have; None where the dims do not tell."""
        return math.prod(self.dims) if all(size >= 0 for size in self.dims) else None

    @property
    def size(self) -> int | None:
        """The bytes that it must have; None where that is not known."""
        if self.elements is None or self.dtype not in _BYTES:
            return None
        return self.elements * _BYTES[self.dtype]


@dataclass(frozen=True)
class Sample:
    """One that Triton runs before the model is ready.

    Attributes:
        index: among the samples.
        message: what the config says of it.
    """

    index: int
    message: Any

    @property
    def path(self) -> tuple[str, int]:
        """Where it stands."""
        return "model_warmup", self.index

    def __str__(self) -> str:
        return f"warmup sample {self.message.name!r}" if self.message.name else f"warmup sample {self.index}"


@rule(
    "MY130",
    Severity.ERROR,
    summary="a file of a warmup sample or an initial state is missing",
    mend="Put the file into the model's folder warmup/ or initial_state/, or name one that stands there.",
    verdict=Verdict.REFUSES,
)
def data_file_is_missing(config: Config) -> Findings:
    """Samples are looked for in `warmup/` of the model's folder, initial states in `initial_state/`.

    Triton says `failed to open text file for read …/warmup/…: No such file or directory`. Where the name is that of a
    folder the whole server ends: `terminate called after throwing an instance of 'std::length_error'`.
    """
    for file in _data_files(config):
        entry = config.model.file(file.relative)
        if entry.is_folder:
            yield config.raised(f"{file.relative} is a folder, expected a file: it ends the server", *file.path)
        elif not entry.is_file:
            yield config.raised(f"there is no file {file.relative}{_instead(config, file)}", *file.path)


@rule(
    "MY131",
    Severity.ERROR,
    summary="a file of a warmup sample or an initial state has too little in it",
    mend="Write the tensor again: raw, row-major, for one item; before each string its length in four bytes.",
    verdict=Verdict.REFUSES,
)
def data_file_is_short(config: Config) -> Findings:
    """The file holds the elements of one item of the batch, and nothing else.

    Triton says `warmup setting expects 16 bytes, but the data provided from … only has 8 bytes`, and of strings
    `incomplete string data for inference input …` or `expected 2 string elements for inference input …, got 1`. A
    string that is cut off early may end the whole server, with a segmentation fault.
    """
    for file in _data_files(config):
        size, entry = file.size, config.model.file(file.relative)
        if not entry.is_file:
            continue
        if size is not None and entry.size < size:
            yield config.raised(
                f"{file.relative} has {entry.size} bytes, and {file.dtype} {brackets(file.dims)} takes {size}; write "
                "it again",
                *file.path,
            )
        elif file.dtype == _STRING and (problem := _string_problem(config, file)):
            yield config.raised(f"{file.relative} {problem}", *file.path)


@rule(
    "MY132",
    Severity.WARNING,
    summary="a file of a warmup sample or an initial state is longer than its tensor",
    mend="Correct dims, or write the file again.",
    verdict=Verdict.LOADS,
)
def data_file_is_long(config: Config) -> Findings:
    """Triton takes the bytes that it needs from the beginning, and leaves the rest, without a word.

    The file was written for other dims or another type, so what it takes are other values than were meant.
    """
    for file in _data_files(config):
        size, entry = file.size, config.model.file(file.relative)
        if entry.is_file and size is not None and entry.size > size:
            yield config.raised(
                f"{file.relative} has {entry.size} bytes, and {file.dtype} {brackets(file.dims)} takes {size}; the "
                "rest is not read",
                *file.path,
            )


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
    for sample in _run_samples(config):
        for name, given in sample.message.inputs.items():
            if problem := _input_problem(config, given, inputs.get(name)):
                yield config.raised(f"{sample}: {name!r} {problem}", *sample.path, "inputs", name)


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
    for sample in _run_samples(config):
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
    for sample in _run_samples(config):
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
    """Triton says `failed to run warmup sample '…': batch size 9 for …, max allowed is 4`."""
    most = config.message.max_batch_size
    if most < 0 or (not most and not _keeps_its_batch(config)):
        return
    for sample in _run_samples(config):
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
    for sample in _samples(config):
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
    for sample in _run_samples(config):
        for name, given in sample.message.inputs.items():
            if not given.WhichOneof("input_data_type"):
                yield config.raised(
                    f"{sample}: {name!r} has no data; state zero_data: true, or input_data_file",
                    *(*sample.path, "inputs", name),
                )


@rule(
    "MY140",
    Severity.ERROR,
    summary="a label file is missing",
    mend="Put the file into the model's folder, beside config.pbtxt, or take label_filename away.",
    verdict=Verdict.REFUSES,
)
def labels_are_missing(config: Config) -> Findings:
    """Labels stand in the model's folder, not in a version's.

    Triton says `failed to open text file for read …/labels.txt: No such file or directory`.
    """
    for file, _ in _label_files(config):
        if not config.model.file(file.relative).is_file:
            yield config.raised(f"there is no file {file.relative}{_instead(config, file)}", *file.path)


@rule(
    "MY141",
    Severity.WARNING,
    summary="a label file has more or fewer labels than the output has elements",
    mend="Write one label a line, in the order of the elements.",
    verdict=Verdict.LOADS,
)
def labels_do_not_fit(config: Config) -> Findings:
    """Line N is the label of element N. Triton does not count them: an answer's labels are missing, or those of others.

    An empty line is a label, too.
    """
    for file, dims in _label_files(config):
        content = config.model.content(file.relative)
        if content is None or not dims or any(size < 1 for size in dims):
            continue
        labels = len(content.rstrip(b"\r\n").splitlines())
        if labels != math.prod(dims):
            yield config.raised(
                f"{file.relative} has {labels} labels, and the output {math.prod(dims)} elements; write one a line",
                *file.path,
            )


def _samples(config: Config) -> Iterator[Sample]:
    if not config.is_ensemble:
        for index, message in enumerate(config.message.model_warmup):
            yield Sample(index, message)


def _run_samples(config: Config) -> Iterator[Sample]:
    """Those that Triton does not skip."""
    return (sample for sample in _samples(config) if sample.message.batch_size)


def _data_files(config: Config) -> Iterator[DataFile]:
    for sample in _run_samples(config):
        for name, given in sample.message.inputs.items():
            if given.WhichOneof("input_data_type") == "input_data_file":
                path: FieldPath = (*sample.path, "inputs", name, "input_data_file")
                yield DataFile(WARMUP, given.input_data_file, path, dtype_name(given.data_type), dims=tuple(given.dims))
    for index, state in enumerate(config.message.sequence_batching.state):
        for number, initial in enumerate(state.initial_state):
            if initial.WhichOneof("state_data") == "data_file":
                path = ("sequence_batching", "state", index, "initial_state", number, "data_file")
                yield DataFile(
                    INITIAL_STATE, initial.data_file, path, dtype_name(initial.data_type), dims=tuple(initial.dims)
                )


def _label_files(config: Config) -> Iterator[tuple[DataFile, Sequence[int]]]:
    """Each with the dims of its output."""
    for index, output in enumerate(config.message.output):
        if output.label_filename:
            yield DataFile("", output.label_filename, ("output", index, "label_filename")), tuple(output.dims)


def _instead(config: Config, file: DataFile) -> str:
    """The end of a sentence about a file that is missing: where one stands that may be meant."""
    base = file.name.rpartition("/")[2]
    for place in ("", f"{WARMUP}/", *(f"{version.number}/" for version in config.model.versions.values())):
        if place + base != file.relative and base and config.model.file(place + base).is_file:
            return f"; {place}{base} stands, move it to {file.relative}"
    return "; write it, or state another name"


def _string_problem(config: Config, file: DataFile) -> str:
    """What is wrong with the strings of a file; empty: nothing, or it is not known."""
    content = config.model.content(file.relative)
    if content is None or file.elements is None:
        return ""
    found, at = 0, 0
    while at < len(content):
        if at + _LENGTH.size > len(content):
            return f"has {len(content) - at} bytes too many at its end; before each string its length takes four bytes"
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size + length
        if at > len(content):
            return f"says that string {found} has {length} bytes, which are not there; write lengths before strings"
        found += 1
    if found != file.elements:
        return f"has {found} strings, and {brackets(file.dims)} takes {file.elements}"
    return ""


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
