"""What a build tells about itself while it works."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Shows a build to a person."""

    def step(self, model: str, step: str) -> AbstractContextManager[None]:
        """A step of a model's build that begins now and ends with the context."""
        ...

    def say(self, line: str) -> None:
        """One line worth keeping."""
        ...


class Stopwatch:
    """Shows each step of one model and remembers how long it took, in seconds."""

    def __init__(self, model: str, progress: Progress) -> None:
        self._model = model
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times and shows one step."""
        started = time.monotonic()
        with self._progress.step(self._model, name):
            yield
        self.seconds[name] = round(time.monotonic() - started, 2)
