"""How far a build is, out of the phases that TensorRT reports, each inside another."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass
class _Phase:
    parent: str
    steps: int
    done: int = 0


class Phases:
    """Open phases and their steps. TensorRT reports from several threads."""

    def __init__(self) -> None:
        self._open: dict[str, _Phase] = {}
        self._lock = threading.Lock()
        self._furthest = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of some steps begins inside another."""
        with self._lock:
            self._open[name] = _Phase(parent or "", max(steps, 1))

    def step(self, name: str, step: int) -> None:
        """A step of a phase, counted from 0, is done."""
        with self._lock:
            if name in self._open:
                self._open[name].done = max(self._open[name].done, step + 1)

    def finish(self, name: str) -> None:
        """A phase is done."""
        with self._lock:
            self._open.pop(name, None)

    def fraction(self) -> float:
        """The share (0 to 1) of the outermost phase that is done; it never goes back."""
        with self._lock:
            self._furthest = max(self._furthest, self._share(""))
        return self._furthest

    def _share(self, parent: str) -> float:
        """The furthest of the phases inside another, each with what is done inside it."""
        inner = [(name, phase) for name, phase in self._open.items() if phase.parent == parent]
        return max((min(1.0, (phase.done + self._share(name)) / phase.steps) for name, phase in inner), default=0.0)
