"""Whisper's decoder: the loop over the tokens, with the keys and values of earlier tokens beside it.

Windows run together, a row of the graph for each hypothesis; a window that is done leaves the batch. ONNX Runtime takes
numpy's arrays as they are, without copying them.

A window is decoded as openai-whisper does: the most probable tokens, or a beam; where the text repeats itself or is
improbable, again with lots drawn at rising temperatures (the same lots each time, so that the same sound gives the same
text). What is probably silence gives no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from .rules import Reading, Tokens, compression_ratio, log_softmax, read
from .search import Beam, Greedy, Search, Transcript

# Tokens before the first that is written: start, language and task.
PROMPT = 3
# Asking whether a request was given up costs 0.1 ms, a token 30.
ASKED_EVERY_TOKENS = 4

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Believed:
    """When a transcript is believed; see the head of the decoder's model.py.

    Attributes:
        temperatures: in the order in which they are tried, the first being 0.
        compression_ratio_threshold: a text that compresses better repeats itself.
        logprob_threshold: a text that is less probable is not believed.
        no_speech_threshold: where silence is more probable, and the text is improbable, there is no text.
    """

    temperatures: tuple[float, ...]
    compression_ratio_threshold: float
    logprob_threshold: float
    no_speech_threshold: float


@dataclass
class Window:
    """One item of a request, under way.

    Attributes:
        states: of the encoder, float32 [frames, width].
        seconds: how long the sound is.
        language: its token, or None where it is to be found out.
        beam_size: hypotheses.
        max_tokens: at most so many are written.
        is_cancelled: whether the caller has given up.
        no_speech: the probability of silence.
        transcript: what was written so far, at the last temperature that was tried.
        cancelled: whether the work on it was stopped.
    """

    states: Array
    seconds: float
    language: int | None
    beam_size: int
    max_tokens: int
    is_cancelled: Callable[[], bool]
    no_speech: float = 0.0
    transcript: Transcript | None = None
    cancelled: bool = False

    def ask(self) -> bool:
        """Whether it is still wanted."""
        self.cancelled = self.cancelled or self.is_cancelled()
        return not self.cancelled


class Cache:
    """Keys and values of the windows in a batch: of their sound, and of the tokens so far."""

    def __init__(self, cross: onnxruntime.InferenceSession, token: onnxruntime.InferenceSession, states: Array) -> None:
        self._token = token
        self._outputs = [each.name for each in token.get_outputs()]
        names = [each.name for each in cross.get_outputs()]
        self._cross: Arrays = dict(zip(names, cross.run(names, {"states": states}), strict=True))
        self._past: Arrays = {
            each.name: np.zeros([1 if isinstance(size, str) else size for size in each.shape], np.float32)
            for each in token.get_inputs()
            if each.name.startswith(("key_", "value_"))
        }
        # Nothing before the first token.
        for name, array in self._past.items():
            empty = np.repeat(array, len(states), 0)
            self._past[name] = empty[..., :0] if name.startswith("key_") else empty[..., :0, :]

    def run(self, tokens: Array) -> Array:
        """The logits after new tokens, int64 [windows, beams, new]: float32 [windows, beams, vocabulary]."""
        found = self._token.run(self._outputs, {"tokens": tokens, **self._past, **self._cross})
        named = dict(zip(self._outputs, found, strict=True))
        logits: Array = named.pop("logits")
        self._past = {name.removeprefix("new_"): array for name, array in named.items()}
        return logits

    def widened(self, beams: int) -> None:
        """Every hypothesis begins as the first one."""
        self._past = {name: np.repeat(array, beams, 1) for name, array in self._past.items()}

    def continued(self, windows: Array, parents: Array) -> None:
        """Keeps some windows, and in each the hypotheses that are continued: int64 [kept], [kept, beams]."""
        if len(windows) < len(next(iter(self._cross.values()))):
            self._cross = {name: array[windows] for name, array in self._cross.items()}
        elif (parents == np.arange(parents.shape[1])).all():
            return
        self._past = {name: array[windows[:, None], parents] for name, array in self._past.items()}


class Decoder:
    """The graphs and the vocabulary of a version folder.

    Attributes:
        tokens: the vocabulary's special numbers.
    """

    def __init__(self, folder: Path, believed: Believed, intra_op_thread_count: int) -> None:
        self.tokens = Tokens.read(folder / "decoding.json")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._settings = believed
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = intra_op_thread_count
        self._cross, self._token = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("cross.onnx", "token.onnx")
        )

    def decode(self, windows: Sequence[Window]) -> None:
        """Fills in the transcripts, those of equal beams together; of a window that was cancelled there may be none."""
        for _, group in groupby(sorted(windows, key=_beams), key=_beams):
            self._decode(list(group))

    def text(self, tokens: Sequence[int]) -> str:
        """The words among the tokens."""
        words = [token for token in tokens if token < self.tokens.end]
        return str(self._tokenizer.decode(words, skip_special_tokens=True)).strip()

    def reading(self, window: Window) -> Reading:
        """What a decoded window says."""
        assert window.transcript is not None  # noqa: S101  # decoded
        if self._is_silence(window, window.transcript):
            return Reading([], window.seconds)
        return read(window.transcript.tokens, self.tokens, window.seconds)

    def _decode(self, windows: list[Window]) -> None:
        """Temperature after temperature, until the transcripts can be believed."""
        for temperature in self._settings.temperatures:
            windows = [window for window in windows if not self._believed(window) and window.ask()]
            if windows:
                self._decode_at(temperature, windows)

    def _believed(self, window: Window) -> bool:
        if window.transcript is None:
            return False
        if self._is_silence(window, window.transcript):
            return True
        ratio = compression_ratio(self.text(window.transcript.tokens))
        return (
            ratio <= self._settings.compression_ratio_threshold
            and window.transcript.log_probability >= self._settings.logprob_threshold
        )

    def _decode_at(self, temperature: float, windows: list[Window]) -> None:
        cache = Cache(self._cross, self._token, np.stack([window.states for window in windows]))
        logits = self._prompt(cache, windows)
        searches = [self._search(temperature, window) for window in windows]
        if searches[0].width > 1:
            cache.widened(searches[0].width)
            logits = np.repeat(logits, searches[0].width, 1)
        open_, steps = list(range(len(windows))), 0
        while open_:
            chosen = [searches[place].advance(logits[row]) for row, place in enumerate(open_)]
            steps += 1
            asked = steps % ASKED_EVERY_TOKENS == 0
            kept = [
                row
                for row, place in enumerate(open_)
                if not searches[place].done() and (not asked or windows[place].ask())
            ]
            open_ = [open_[row] for row in kept]
            if open_:
                cache.continued(np.array(kept), np.stack([chosen[row][1] for row in kept]))
                logits = cache.run(np.stack([chosen[row][0] for row in kept])[..., None])
        for window, search in zip(windows, searches, strict=True):
            if not window.cancelled:
                window.transcript = search.best()

    def _prompt(self, cache: Cache, windows: Sequence[Window]) -> Array:
        """Runs the start, which says whether there is speech and in which language, and the rest of the prompt."""
        logits = cache.run(np.full((len(windows), 1, 1), self.tokens.start))[:, 0]
        languages = np.array(list(self.tokens.languages.values()))
        found = languages[logits[:, languages].argmax(1)]
        for window, row, language in zip(windows, log_softmax(logits), found, strict=True):
            window.no_speech = float(np.exp(row[self.tokens.no_speech]))
            window.language = int(language) if window.language is None else window.language
        rest = [[[window.language, self.tokens.transcribe]] for window in windows]
        return cache.run(np.array(rest, np.int64))

    def _search(self, temperature: float, window: Window) -> Search:
        if temperature:
            return Greedy(self.tokens, window.max_tokens, temperature)
        if window.beam_size > 1:
            return Beam(self.tokens, window.max_tokens, window.beam_size)
        return Greedy(self.tokens, window.max_tokens)

    def _is_silence(self, window: Window, transcript: Transcript) -> bool:
        return (
            window.no_speech > self._settings.no_speech_threshold
            and transcript.log_probability < self._settings.logprob_threshold
        )


def _beams(window: Window) -> int:
    return window.beam_size
