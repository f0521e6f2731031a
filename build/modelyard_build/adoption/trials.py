"""A module run at other sizes than its example's, and what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from modelyard_build.adoption.batching import Batched
from modelyard_build.adoption.running import RunFailed, Runner

# An input and a dimension of it; 0 is the batch.
Site: TypeAlias = tuple[str, int]
# Dimensions that always have the same size.
Group: TypeAlias = tuple[Site, ...]
Sizes: TypeAlias = Mapping[Site, int]


@dataclass
class Trials:
    """Runs at other sizes than the example's.

    Attributes:
        runner: the module.
        outputs: what it has to answer.
        seen: the sizes that worked, with the shape of each output's item.
        why: what was wrong with the last that did not.
    """

    runner: Runner
    outputs: Mapping[str, Batched]
    seen: list[tuple[Sizes, Mapping[str, tuple[int, ...]]]] = field(default_factory=list)
    why: str = ""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of an item of each input, in the example."""
        return {name: array.shape[1:] for name, array in self.runner.example.items()}

    def work(self, sizes: Sizes, batch: int = 2, first: int = 0) -> bool:
        """Whether the module answers at these sizes, others as in the example, and remembers it."""
        shapes = {
            name: tuple(sizes.get((name, at), size) for at, size in enumerate(shape, 1))
            for name, shape in self.shapes.items()
        }
        try:
            found = self.runner.at(batch, shapes, first)
        except RunFailed as error:
            self.why = str(error)
            return False
        self.why = next((why for place in self.outputs if (why := self._wrong(place, found.get(place), batch))), "")
        if not self.why:
            self.seen.append((sizes, {place: self._item_shape(place, found[place]) for place in self.outputs}))
        return not self.why

    def size(self, site: Site) -> int:
        """What the example has there."""
        return self.shapes[site[0]][site[1] - 1]

    def _wrong(self, place: str, answer: torch.Tensor | None, batch: int) -> str:
        output = self.outputs[place]
        if answer is None or answer.ndim <= output.batch or answer.shape[output.batch] != batch:
            return f"output {place or 'output'!r} loses its batch"
        if self.seen and answer.ndim != len(self.seen[0][1][place]) + 1:
            return f"output {place or 'output'!r} has another number of dimensions"
        if not answer.numel():
            return f"output {place or 'output'!r} is empty"
        if answer.is_floating_point() and not bool(answer.isfinite().all()):
            return f"output {place or 'output'!r} has elements that are NaN or infinite"
        return ""

    def _item_shape(self, place: str, answer: torch.Tensor) -> tuple[int, ...]:
        at = self.outputs[place].batch
        return (*answer.shape[:at], *answer.shape[at + 1 :])
