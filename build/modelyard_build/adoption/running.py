"""A stranger's module run on arrays: what it answers, and in words why it does not."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelyard_build.adoption.adapter import parameters_for
from modelyard_build.adoption.answers import leaves
from modelyard_build.adoption.drawing import draw
from modelyard_build.adoption.origin import Draw
from modelyard_build.export_guards import Place, place_in
from modelyard_build.model import Arrays
from modelyard_build.module_checks import first_line

# In a message, in characters.
_LONGEST_CODE = 60
_OWN = Path(__file__).parents[1]


class RunFailed(Exception):
    """The module raised; the message says where and what."""


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """What a stranger's code prints goes to stderr, so that stdout stays the command's own."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def in_words(error: BaseException) -> str:
    """An error in one line, with the line of the stranger's code that it came from."""
    if isinstance(error, SystemExit):
        said = f"it called sys.exit({error.code!r})"
    else:
        said = f"{type(error).__name__}: {first_line(error)}"
    place = _place_of(error)
    if place is None:
        return said
    # A long line says less than its number.
    return f"{said} (at {place if len(place.code) <= _LONGEST_CODE else place.at})"


def _place_of(error: BaseException) -> Place | None:
    """The line of the stranger's own code; not one of this package, which called it."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return Place(error.filename, error.lineno, (error.text or "").strip())
    inside_out = reversed(list(traceback.walk_tb(error.__traceback__)))
    return place_in((frame, line) for frame, line in inside_out if _OWN not in Path(frame.f_code.co_filename).parents)


@dataclass
class Runner:
    """A module, and inputs of any size for it.

    Attributes:
        module: as its author wrote it.
        example: an array for each input, items along the first dimension.
        draws: which values inputs may take.
        seconds: how long the last run took.
    """

    module: nn.Module
    example: Arrays
    draws: Mapping[str, Draw]
    seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._by_position, self._by_keyword = parameters_for(self.module, tuple(self.example))

    def at(self, batch: int, shapes: Mapping[str, Sequence[int]], first: int = 0) -> dict[str, torch.Tensor]:
        """The tensors that it answers to drawn inputs, by their places.

        Args:
            batch: how many items.
            shapes: the shape of an item of each input.
            first: the number of the first item.

        Raises:
            RunFailed: it raised.
        """
        found = self.run(self.inputs(batch, shapes, first))
        return {place: value for place, value in found.items() if isinstance(value, torch.Tensor)}

    def inputs(self, batch: int, shapes: Mapping[str, Sequence[int]], first: int = 0) -> Arrays:
        """Drawn inputs; see `drawing`."""
        return draw(self.example, shapes, self.draws, batch, first)

    def run(self, inputs: Arrays) -> dict[str, Any]:
        """Everything that it answers, by its place.

        Raises:
            RunFailed: it raised.
        """
        tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
        started = time.monotonic()
        try:
            with torch.inference_mode(), apart():
                answer = self.module(
                    *(tensors[name] for name in self._by_position),
                    **{name: tensors[name] for name in self._by_keyword},
                )
                return dict(leaves(answer))
        # A stranger's code may raise anything, and leave.
        except (Exception, SystemExit) as error:
            raise RunFailed(in_words(error)) from error
        finally:
            self.seconds = time.monotonic() - started
