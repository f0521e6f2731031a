"""What Whisper may write next, and when a transcript is not to be believed; pure numpy.

Timestamps come in pairs around each segment, rise, and go first where they are together more probable than any word
(`ApplyTimestampRules` of openai-whisper's decoding.py; transformers' `WhisperTimeStampLogitsProcessor` is the same).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

# Seconds of a timestamp's step, and how late the first one may be.
PRECISION = 0.02
MAX_INITIAL_TIMESTAMP = 1.0


@dataclass(frozen=True)
class Tokens:
    """The vocabulary's special numbers.

    Attributes:
        start: <|startoftranscript|>.
        end: <|endoftext|>; words have lower numbers.
        transcribe: the task: writing in the language that is spoken.
        no_timestamps: never written here.
        no_speech: its probability after `start` is that of silence.
        timestamps: the first timestamp, of 0 s; the others follow.
        suppressed: what is never written: sounds in brackets, languages, tasks.
        languages: by their codes ("en").
        positions: how many tokens the decoder has positions for.
    """

    start: int
    end: int
    transcribe: int
    no_timestamps: int
    no_speech: int
    timestamps: int
    suppressed: tuple[int, ...]
    languages: Mapping[str, int]
    positions: int

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Out of the version's decoding.json."""
        stored: dict[str, Any] = json.loads(path.read_text())
        return cls(**{**stored, "suppressed": tuple(stored["suppressed"])})


def log_softmax(logits: Array) -> Array:
    """Along the last dimension; -inf stays."""
    shifted = logits - logits.max(-1, keepdims=True)
    shares: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shares


def allowed(scores: Array, written: Sequence[int], tokens: Tokens) -> Array:
    """The scores of one hypothesis with -inf where a token must not come.

    Args:
        scores: log probabilities or logits, float32 [vocabulary].
        written: the tokens so far, without the prompt.
        tokens: the vocabulary's.
    """
    scores = scores.copy()
    scores[list(tokens.suppressed)] = -np.inf
    scores[tokens.no_timestamps] = -np.inf
    first, last = _timestamps(written, tokens)
    scores[tokens.timestamps : first] = -np.inf
    scores[last:] = -np.inf
    if not written or _closes(written, tokens):
        # A segment begins with a timestamp, and one that was opened by a text ends with one.
        scores[: tokens.timestamps if not written else tokens.end] = -np.inf
    text, times = scores[: tokens.timestamps], scores[tokens.timestamps :]
    if _log_sum(times) > text.max():
        text[:] = -np.inf
    return scores


def _timestamps(written: Sequence[int], tokens: Tokens) -> tuple[int, int]:
    """The timestamps that may come: the first, and the one behind the last."""
    if not written:
        return tokens.timestamps, tokens.timestamps + round(MAX_INITIAL_TIMESTAMP / PRECISION) + 1
    stamps = [token for token in written if token >= tokens.timestamps]
    if not stamps:
        return tokens.timestamps, _END
    if written[-1] < tokens.timestamps:
        return stamps[-1] + 1, _END
    # One that closes a segment may be said again, to open the next; one that opens it is followed by text.
    return (stamps[-1], _END) if _closes(written, tokens) else (tokens.timestamps, tokens.timestamps)


_END = 1 << 62


def _closes(written: Sequence[int], tokens: Tokens) -> bool:
    """Whether the last token is a timestamp behind text."""
    return len(written) > 1 and written[-1] >= tokens.timestamps > written[-2]


def _log_sum(scores: Array) -> float:
    largest = float(scores.max(initial=-np.inf))
    return largest if largest == -np.inf else largest + float(np.log(np.exp(scores - largest).sum()))


def compression_ratio(text: str) -> float:
    """How much zlib makes of a text: a loop that says the same again and again is above 2.4."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))


@dataclass(frozen=True)
class Reading:
    """What the tokens of a window say.

    Attributes:
        segments: start, end (seconds) and the words' tokens of each.
        until: seconds to which they go. Where the decoder broke off behind a segment, the rest is to be heard again.
    """

    segments: list[tuple[float, float, list[int]]]
    until: float


def read(written: Sequence[int], tokens: Tokens, duration: float) -> Reading:
    """Takes the tokens apart, as openai-whisper's `transcribe` does.

    A text between two timestamps is a segment. Two timestamps in a row stand between segments; what follows the last
    such pair, and is not closed, does not count: it is heard again from there.

    Args:
        written: the tokens, without the prompt.
        tokens: the vocabulary's.
        duration: of the sound, in seconds; no segment goes beyond it.
    """
    stamped = [token >= tokens.timestamps for token in written]
    pairs = [place for place in range(1, len(written)) if stamped[place - 1] and stamped[place]]
    closed = stamped[-2:] == [False, True]
    until = duration
    if pairs and not closed:
        until = min(_seconds(written[pairs[-1]], tokens), duration)
        written = written[: pairs[-1] + 1]
    found: list[tuple[float, float, list[int]]] = []
    start, words = 0.0, list[int]()
    for token in written:
        if token < tokens.end:
            words.append(token)
        elif token >= tokens.timestamps:
            time = min(_seconds(token, tokens), duration)
            if words:
                found.append((start, time, words))
            start, words = time, []
    return Reading([*found, (start, duration, words)] if words else found, until)


def _seconds(token: int, tokens: Tokens) -> float:
    return (token - tokens.timestamps) * PRECISION
