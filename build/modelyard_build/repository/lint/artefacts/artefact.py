"""What a reader gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The problem of what is a folder, a pipe or a link that leads nowhere, where a backend takes a file.
NOT_A_FILE = "is not a file"


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of an artefact.

    Attributes:
        name: as Triton must call it.
        dtype: as config.pbtxt has it, such as "TYPE_FP32"; empty where the artefact does not say, or Triton has none.
        shape: all sizes, the batch first where the artefact has one; -1 where they vary. None: not even the rank.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Artefact:
    """What is known of an artefact.

    Attributes:
        path: the file, or the folder where the backend takes one.
        inputs: those that a request must give; None where the file does not tell.
        outputs: likewise.
        optional_inputs: names of inputs that have a default in the graph.
        problem: why nothing is known; empty: something is.
        broken: whether the problem is the file's own, so that no runtime can load it; otherwise it is ours.
        details: what only the backend's own rules ask for, such as "opset", "ir_version", "external_files", "profiles".
    """

    path: Path
    inputs: tuple[TensorInfo, ...] | None = None
    outputs: tuple[TensorInfo, ...] | None = None
    optional_inputs: frozenset[str] = frozenset()
    problem: str = ""
    broken: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


class Unreadable(Exception):
    """A file of which nothing is known.

    Attributes:
        broken: whether no runtime can load it either.
    """

    def __init__(self, problem: str, *, broken: bool = False) -> None:
        super().__init__(problem)
        self.broken = broken


# A reader is given the path and the version's manifest. It raises nothing but OSError.
Reader = Callable[[Path, Mapping[str, Any]], Artefact]
