"""MY130 to MY132, MY140 and MY141: the files of warmup samples, of initial states and of labels."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.samples import run_samples
from modelyard_build.repository.lint.rules.tensor_texts import brackets, dtype_name
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


def _data_files(config: Config) -> Iterator[DataFile]:
    for sample in run_samples(config):
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
