"""Where to cut sound for a model that hears 30 s at a time: in the pauses, by the probability of speech of each chunk.

As silero-vad's `get_speech_timestamps`, a stretch of speech begins with a chunk above a threshold, and ends before one
that is clearly below it and is followed by others. Neighbouring stretches are then joined for as long as a window holds
them: a window costs the same however full it is. Pure Python; chunks are numbered from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

CHUNK, SAMPLE_RATE, WINDOW_SECONDS = 512, 16_000, 30
# silero-vad's own distance between the thresholds, and its shortest speech.
HYSTERESIS, LEAST_SPEECH_MS, PADDING_MS = 0.15, 250, 200

Span = tuple[int, int]


def chunks_in(milliseconds: float) -> int:
    """The nearest number of chunks."""
    return round(milliseconds * SAMPLE_RATE / 1000 / CHUNK)


@dataclass(frozen=True)
class Limits:
    """All in chunks, but for the thresholds.

    Attributes:
        speech: a stretch begins at this probability.
        silence: it ends below this one.
        least_silence: so many chunks of silence end it.
        least_speech: a shorter stretch is none.
        padding: what a window has of the pause before and behind it.
        longest: of a window, with its padding.
    """

    speech: float
    silence: float
    least_silence: int
    least_speech: int
    padding: int
    longest: int

    @classmethod
    def of(cls, threshold: float, min_silence_ms: float) -> Limits:
        """For windows of 30 s: the probability of speech, and the shortest pause."""
        return cls(
            speech=threshold,
            silence=max(threshold - HYSTERESIS, 0.01),
            least_silence=max(1, chunks_in(min_silence_ms)),
            least_speech=chunks_in(LEAST_SPEECH_MS),
            padding=chunks_in(PADDING_MS),
            longest=WINDOW_SECONDS * SAMPLE_RATE // CHUNK,
        )

    @property
    def room(self) -> int:
        """What a window has for speech and the pauses within."""
        return self.longest - 2 * self.padding


@dataclass
class Windows:
    """Takes probabilities as they come, and gives windows as soon as they are complete."""

    limits: Limits
    _heard: int = 0
    # The stretch that is open: its probabilities, from its start on, and since when it is silent.
    _open: list[float] = field(default_factory=list)
    _silent: int = 0
    _window: Span | None = None
    _behind: int = 0

    def feed(self, probabilities: Iterable[float]) -> Iterator[Span]:
        """The windows that the chunks complete: first chunk, and the one behind the last."""
        for probability in probabilities:
            self._heard += 1
            for stretch in self._stretches(probability):
                yield from self._joined(stretch)
        if self._window and self._begun() - self._window[0] > self.limits.room:
            yield from self._closed()

    def finish(self) -> Iterator[Span]:
        """The last ones."""
        if self._open:
            yield from self._joined((self._begun(), self._heard - self._silent))
            self._open = []
        yield from self._closed()

    def needed_from(self) -> int:
        """The first chunk that a window to come may have."""
        first = self._window[0] if self._window else self._begun()
        return max(self._behind, first - self.limits.padding)

    def _begun(self) -> int:
        return self._heard - len(self._open)

    def _stretches(self, probability: float) -> Iterator[Span]:
        """The stretch that a chunk ends, if it does."""
        limits = self.limits
        if not self._open and probability < limits.speech:
            return
        self._open.append(probability)
        if probability >= limits.speech:
            self._silent = 0
        elif probability < limits.silence or self._silent:
            self._silent += 1
        if self._silent >= limits.least_silence:
            yield self._begun(), self._heard - self._silent
            self._open, self._silent = [], 0
        elif len(self._open) >= limits.room:
            yield self._cut()

    def _cut(self) -> Span:
        """Speech without a pause: it is cut where it is least probable, in the second half."""
        half = len(self._open) // 2
        at = min(range(half, len(self._open)), key=lambda place: self._open[place])
        begun = self._begun()
        self._open = self._open[at:]
        self._silent = min(self._silent, len(self._open))
        return begun, begun + at

    def _joined(self, stretch: Span) -> Iterator[Span]:
        start, end = stretch
        if end - start < self.limits.least_speech:
            return
        if self._window and end - self._window[0] <= self.limits.room:
            self._window = self._window[0], end
            return
        yield from self._closed()
        self._window = stretch

    def _closed(self) -> Iterator[Span]:
        if self._window is None:
            return
        start, end = self._window
        padding = self.limits.padding
        window = max(self._behind, start - padding), min(self._heard, end + padding)
        self._window, self._behind = None, window[1]
        yield window
