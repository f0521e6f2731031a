"""What is kept of a sound while it is read: no more than a window to come may need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .windows import CHUNK

Samples = npt.NDArray[np.float32]


@dataclass
class Heard:
    """The samples that may still be needed.

    Attributes:
        samples: float32.
        start: the number of the first of them in the sound.
    """

    samples: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    start: int = 0

    def add(self, block: Samples) -> None:
        """Takes what comes next."""
        self.samples = np.concatenate([self.samples, block])

    def chunks(self, first: int, behind: int) -> Samples:
        """A copy of a part of the sound, from a chunk to the one before another; the last one may not be whole."""
        return self.samples[first * CHUNK - self.start : behind * CHUNK - self.start].copy()

    def forget(self, before: int) -> None:
        """Drops the samples before a chunk, which are not needed any more."""
        kept = min(max(before * CHUNK - self.start, 0), len(self.samples))
        self.samples, self.start = self.samples[kept:], self.start + kept


def whole_chunks(blocks: Iterator[Samples]) -> Iterator[Samples]:
    """The same sound in whole chunks, but for the last one."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        joined = np.concatenate([rest, block])
        whole = len(joined) // CHUNK * CHUNK
        rest = joined[whole:]
        if whole:
            yield joined[:whole]
    if len(rest):
        yield rest
