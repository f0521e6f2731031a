"""How the next token is chosen: the most probable one, one by lot, or the best of several hypotheses; pure numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .rules import Tokens, allowed, log_softmax

Array = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Transcript:
    """What was written for a window.

    Attributes:
        tokens: without the prompt and the end.
        log_probability: the mean over the tokens and the end.
    """

    tokens: list[int]
    log_probability: float


class Search(Protocol):
    """The hypotheses of one window."""

    width: int

    def advance(self, logits: Array) -> tuple[Integers, Integers]:
        """Takes the logits after each hypothesis, float32 [width, vocabulary].

        Returns:
            int64 [width] twice: the next token of each hypothesis, and which one of before it continues.
        """
        ...

    def done(self) -> bool:
        """Whether there is nothing left to find."""
        ...

    def best(self) -> Transcript:
        """The best of what was found."""
        ...


@dataclass
class Greedy:
    """One hypothesis: the most probable token each time, or at a temperature above 0 one that is drawn.

    Attributes:
        tokens: the vocabulary's.
        max_tokens: the end comes after so many at the latest.
        temperature: 0 draws no lots.
        generator: draws them.
    """

    tokens: Tokens
    max_tokens: int
    temperature: float = 0.0
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    width: int = 1
    written: list[int] = field(default_factory=list)
    ended: bool = False
    log_probability: float = 0.0

    def advance(self, logits: Array) -> tuple[Integers, Integers]:
        """See `Search`."""
        scores = allowed(logits[0], self.written, self.tokens)
        token = self._choice(scores)
        self.log_probability += float(log_softmax(scores)[token])
        self.written.append(token)
        self.ended = token == self.tokens.end or len(self.written) >= self.max_tokens
        return np.array([token]), np.zeros(1, np.int64)

    def _choice(self, scores: Array) -> int:
        if not self.temperature:
            return int(scores.argmax())
        # The largest of the scores with Gumbel noise is a draw from their softmax.
        return int((scores / self.temperature + self.generator.gumbel(size=scores.shape)).argmax())

    def done(self) -> bool:
        """See `Search`."""
        return self.ended

    def best(self) -> Transcript:
        """See `Search`."""
        written = [token for token in self.written if token != self.tokens.end]
        return Transcript(written, self.log_probability / (len(written) + 1))


@dataclass
class Beam:
    """The best of `width` hypotheses, by mean log probability: transformers' beam search with its defaults.

    (`length_penalty` 1, `early_stopping` False: it ends when the best open hypothesis, as long as it is now, is worse
    than every one of `width` finished ones.)

    Attributes:
        tokens: the vocabulary's.
        max_tokens: a hypothesis ends after so many at the latest.
        width: how many hypotheses are kept.
    """

    tokens: Tokens
    max_tokens: int
    width: int
    open: list[list[int]] = field(default_factory=lambda: [[]])
    scores: list[float] = field(default_factory=lambda: [0.0])
    finished: list[tuple[float, list[int]]] = field(default_factory=list)

    def advance(self, logits: Array) -> tuple[Integers, Integers]:
        """See `Search`."""
        rows = [
            allowed(row, written, self.tokens) + np.float32(score)
            for row, written, score in zip(log_softmax(logits), self.open, self.scores, strict=False)
        ]
        length = len(self.open[0]) + 1
        candidates = _largest(np.stack(rows), 2 * self.width)
        ended = [token == self.tokens.end or length >= self.max_tokens for _, _, token in candidates]
        for (score, parent, token), end in list(zip(candidates, ended, strict=True))[: self.width]:
            if end:
                self.finished.append((score / length, [*self.open[parent], token]))
        self.finished = sorted(self.finished, key=lambda each: -each[0])[: self.width]
        kept = [each for each, end in zip(candidates, ended, strict=True) if not end][: self.width]
        if not kept:
            self.open = []
            return np.full(self.width, self.tokens.end), np.zeros(self.width, np.int64)
        self.open = [[*self.open[parent], token] for _, parent, token in kept]
        self.scores = [score for score, _, _ in kept]
        # Rows of the graph that no hypothesis stands for repeat the last one; nothing reads them.
        filled = kept + kept[-1:] * (self.width - len(kept))
        return np.array([token for _, _, token in filled]), np.array([parent for _, parent, _ in filled])

    def done(self) -> bool:
        """See `Search`."""
        if not self.open:
            return True
        full = len(self.finished) == self.width
        return full and self.scores[0] / len(self.open[0]) <= self.finished[-1][0]

    def best(self) -> Transcript:
        """See `Search`."""
        score, written = self.finished[0]
        return Transcript([token for token in written if token != self.tokens.end], score)


def _largest(scores: Array, count: int) -> list[tuple[float, int, int]]:
    """Score, row and column of the largest elements, in falling order, without those that must not come."""
    flat = scores.reshape(-1)
    count = min(count, len(flat))
    places = np.argpartition(-flat, count - 1)[:count]
    places = places[np.argsort(-flat[places], kind="stable")]
    return [(float(flat[place]), *divmod(int(place), scores.shape[1])) for place in places if flat[place] > -np.inf]
