"""The encoder's states to timed segments of text: Whisper's decoder, a model for Triton's Python backend.

The loop over the tokens runs here, with the keys and values of earlier tokens beside it: as tensors of requests they
would pass from process to process for each token, 36 MB of them for a window of 30 s. Windows that Triton batched run
together, a row for each hypothesis; a window that is done leaves the batch. ONNX Runtime takes numpy's arrays as they
are, without copying them.

A window is decoded as openai-whisper does: the most probable tokens, or a beam; where the text repeats itself or is
improbable, again with lots drawn at rising temperatures (the same lots each time, so that the same sound gives the same
text). What is probably silence gives no text.

The version folder holds `cross.onnx`, `token.onnx`, `tokenizer.json` and `decoding.json`, the vocabulary's special
numbers. Reads from config.pbtxt's `parameters`:

- `beam_size`: hypotheses of a request that asks for no number; 1 takes the most probable token each time.
- `max_beam_size`, `max_tokens`: the most that a request may ask for; without being asked, `max_tokens` are written.
- `temperatures`: in the order in which they are tried, the first being 0.
- `compression_ratio_threshold`, `logprob_threshold`: a text that compresses better, or is less probable (mean log
  probability of its tokens), is decoded again.
- `no_speech_threshold`: where silence is more probable than this and the text is below `logprob_threshold`, there is
  no text.
- `intra_op_thread_count`: threads of ONNX Runtime; 0 takes every core.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

from .rules import Reading, Tokens, compression_ratio, log_softmax, read
from .search import Beam, Greedy, Search, Transcript

# Tokens before the first that is written: start, language and task.
PROMPT = 3
# Asking Triton whether a request was given up costs 0.1 ms, a token 30.
ASKED_EVERY_TOKENS = 4


Array = npt.NDArray[Any]
Arrays = dict[str, Array]


class InvalidRequest(ValueError):
    """What a request got wrong; the message is its answer."""


@dataclass(frozen=True)
class Settings:
    """The step's parameters; see the head of this file."""

    beam_size: int
    max_beam_size: int
    max_tokens: int
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


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters, the graphs and the vocabulary.

        Args:
            args: Triton's description of the instance.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        self.settings = _settings(parameters)
        folder = Path(args["model_repository"]) / args["model_version"]
        self.tokens = Tokens.read(folder / "decoding.json")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(_number(parameters, "intra_op_thread_count"))
        self.cross, self.token = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("cross.onnx", "token.onnx")
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decodes the windows of all requests, those of equal beams together; a bad request fails alone.

        Args:
            requests: each with `states`, FP32 [batch, frames, width]; `seconds`, FP32 [batch, 1]; and as it likes
                `language`, BYTES [batch, 1], `beam_size` and `max_tokens`, INT32 [batch, 1].

        Returns:
            A response for each: `start` and `end` FP32 and `text` BYTES [batch, segments], filled up with 0 and b"";
            `until` FP32 [batch, 1], the second to which they go; and `language` BYTES [batch, 1].
        """
        asked = [self._read(request) for request in requests]
        windows = [window for item in asked if not isinstance(item, InvalidRequest) for window in item]
        for _, group in groupby(sorted(windows, key=_beams), key=_beams):
            self._decode(list(group))
        return [self._response(item) for item in asked]

    def _read(self, request: Any) -> list[Window] | InvalidRequest:
        try:
            states, seconds = _input(request, "states"), _input(request, "seconds")
            settings = self.settings
            beams = _asked(request, "beam_size", len(states), settings.beam_size, settings.max_beam_size)
            most = _asked(request, "max_tokens", len(states), settings.max_tokens, settings.max_tokens)
            return [
                Window(
                    states=states[place],
                    seconds=float(seconds[place, 0]),
                    language=language,
                    beam_size=beams[place],
                    max_tokens=min(most[place], self.tokens.positions - PROMPT),
                    is_cancelled=request.is_cancelled,
                )
                for place, language in enumerate(self._languages(request, len(states)))
            ]
        except InvalidRequest as error:
            return error

    def _languages(self, request: Any, count: int) -> list[int | None]:
        asked = pb_utils.get_input_tensor_by_name(request, "language")
        if asked is None:
            return [None] * count
        codes = [code.decode(errors="replace") for code in asked.as_numpy().reshape(-1)]
        for code in codes:
            if code and code not in self.tokens.languages:
                raise InvalidRequest(
                    f"language is {code!r}, expected a code such as {', '.join(list(self.tokens.languages)[:6])}, or "
                    "nothing to have it found out."
                )
        return [self.tokens.languages[code] if code else None for code in codes]

    def _decode(self, windows: list[Window]) -> None:
        """Fills in the transcripts, temperature after temperature, until they can be believed."""
        for temperature in self.settings.temperatures:
            windows = [window for window in windows if not window.cancelled and not self._believed(window)]
            if windows:
                self._decode_at(temperature, windows)

    def _believed(self, window: Window) -> bool:
        if window.transcript is None:
            return False
        if window.no_speech > self.settings.no_speech_threshold:
            return True  # silence, or a text that is probable enough
        ratio = compression_ratio(self._text(window.transcript.tokens))
        return (
            ratio <= self.settings.compression_ratio_threshold
            and window.transcript.log_probability >= self.settings.logprob_threshold
        )

    def _decode_at(self, temperature: float, windows: list[Window]) -> None:
        cache = Cache(self.cross, self.token, np.stack([window.states for window in windows]))
        logits = self._prompt(cache, windows)
        searches = [self._search(temperature, window) for window in windows]
        if searches[0].width > 1:
            cache.widened(searches[0].width)
            logits = np.repeat(logits, searches[0].width, 1)
        open_ = list(range(len(windows)))
        asked = 0
        while open_:
            chosen = [searches[place].advance(logits[row]) for row, place in enumerate(open_)]
            asked += 1
            if asked % ASKED_EVERY_TOKENS == 0:
                for place in open_:
                    windows[place].cancelled = windows[place].is_cancelled()
            kept = [
                row for row, place in enumerate(open_) if not searches[place].done() and not windows[place].cancelled
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

    def _text(self, tokens: Sequence[int]) -> str:
        words = [token for token in tokens if token < self.tokens.end]
        return str(self.tokenizer.decode(words, skip_special_tokens=True)).strip()

    def _response(self, item: list[Window] | InvalidRequest) -> Any:
        if isinstance(item, InvalidRequest):
            return _error(str(item), pb_utils.TritonError.INVALID_ARG)
        if any(window.cancelled or window.transcript is None for window in item):
            return _error("the request was cancelled while it was decoded", pb_utils.TritonError.CANCELLED)
        found = [self._reading(window) for window in item]
        texts = [[self._text(words).encode() for _, _, words in each.segments] for each in found]
        codes: dict[int | None, str] = {token: code for code, token in self.tokens.languages.items()}
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("start", _rows([[start for start, _, _ in each.segments] for each in found], 0.0)),
                pb_utils.Tensor("end", _rows([[end for _, end, _ in each.segments] for each in found], 0.0)),
                pb_utils.Tensor("text", _rows(texts, b"")),
                pb_utils.Tensor("until", np.array([[each.until] for each in found], np.float32)),
                pb_utils.Tensor("language", np.array([[codes[each.language].encode()] for each in item], np.object_)),
            ]
        )

    def _reading(self, window: Window) -> Reading:
        assert window.transcript is not None  # noqa: S101  # decoded
        if self._is_silence(window, window.transcript):
            return Reading([], window.seconds)
        return read(window.transcript.tokens, self.tokens, window.seconds)

    def _is_silence(self, window: Window, transcript: Transcript) -> bool:
        return (
            window.no_speech > self.settings.no_speech_threshold
            and transcript.log_probability < self.settings.logprob_threshold
        )


def _beams(window: Window) -> int:
    return window.beam_size


def _error(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def _input(request: Any, name: str) -> Array:
    array: Array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    if not np.isfinite(array).all():
        raise InvalidRequest(f"{name} holds NaN or infinity. See what it was computed from.")
    return array


def _asked(request: Any, name: str, count: int, usual: int, most: int) -> list[int]:
    """An optional number for each item of a request."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    values = [usual] * count if tensor is None else [int(value) for value in tensor.as_numpy().reshape(-1)]
    for value in values:
        if not 1 <= value <= most:
            raise InvalidRequest(f"{name} is {value}, expected 1 to {most}.")
    return values


def _rows(rows: Sequence[Sequence[Any]], padding: float | bytes) -> npt.NDArray[Any]:
    """Rows of differing length as one array, filled up at their ends."""
    width = max(len(row) for row in rows)
    filled = [[*row, *[padding] * (width - len(row))] for row in rows]
    return np.array(filled, np.object_ if isinstance(padding, bytes) else np.float32).reshape(len(rows), width)


def _settings(parameters: Mapping[str, Mapping[str, str]]) -> Settings:
    stated = parameters.get("temperatures", {}).get("string_value", "")
    try:
        temperatures = tuple(float(each) for each in stated.split(","))
    except ValueError:
        temperatures = ()
    if not temperatures or temperatures[0] != 0 or min(temperatures) < 0:
        raise ValueError(
            f"parameters {{ key: 'temperatures' }} is {stated!r}, expected numbers with commas between them, the first "
            "being 0. Mend it in config.pbtxt."
        )
    whole = {name: int(_number(parameters, name)) for name in ("beam_size", "max_beam_size", "max_tokens")}
    names = ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold")
    return Settings(temperatures=temperatures, **whole, **{name: _number(parameters, name) for name in names})  # type: ignore[arg-type]


def _number(parameters: Mapping[str, Mapping[str, str]], name: str) -> float:
    """A number out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    try:
        return float(value)
    except ValueError:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a number as string_value. Mend it in config.pbtxt."
        ) from None
