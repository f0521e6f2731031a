"""The encoder's states to timed segments of text: Whisper's decoder, a model for Triton's Python backend.

The loop over the tokens runs here (decoding.py), with the keys and values of earlier tokens beside it: as tensors of
requests they would pass from process to process for each token, 36 MB of them for a window of 30 s. Windows that Triton
batched run together.

A request that is given up is stopped within the loop. Where another model sent it, that model's own request is the one
that counts: it says so by a parameter of the request, `lifeline` (lifeline.py).

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

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from . import lifeline
from .decoding import PROMPT, Believed, Decoder, Window

WINDOW_SECONDS = 30

Array = npt.NDArray[Any]


class InvalidRequest(ValueError):
    """What a request got wrong; the message is its answer."""


@dataclass(frozen=True)
class Limits:
    """What a request may ask for; see the head of this file."""

    beam_size: int
    max_beam_size: int
    max_tokens: int


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters, the graphs and the vocabulary.

        Args:
            args: Triton's description of the instance.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        numbers = {name: int(_number(parameters, name)) for name in ("beam_size", "max_beam_size", "max_tokens")}
        self.limits = Limits(**numbers)
        folder = Path(args["model_repository"]) / args["model_version"]
        self.decoder = Decoder(folder, _believed(parameters), int(_number(parameters, "intra_op_thread_count")))
        self.tokens = self.decoder.tokens

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
        self.decoder.decode([window for item in asked if not isinstance(item, InvalidRequest) for window in item])
        return [self._response(item) for item in asked]

    def _read(self, request: Any) -> list[Window] | InvalidRequest:
        try:
            states, seconds = _input(request, "states"), _seconds(request)
            limits, is_cancelled = self.limits, _cancellation(request)
            beams = _asked(request, "beam_size", len(states), limits.beam_size, limits.max_beam_size)
            most = _asked(request, "max_tokens", len(states), limits.max_tokens, limits.max_tokens)
            return [
                Window(
                    states=states[place],
                    seconds=float(seconds[place, 0]),
                    language=language,
                    beam_size=beams[place],
                    max_tokens=min(most[place], self.tokens.positions - PROMPT),
                    is_cancelled=is_cancelled,
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

    def _response(self, item: list[Window] | InvalidRequest) -> Any:
        if isinstance(item, InvalidRequest):
            return _error(str(item), pb_utils.TritonError.INVALID_ARG)
        if any(window.cancelled or window.transcript is None for window in item):
            return _error("the request was cancelled while it was decoded", pb_utils.TritonError.CANCELLED)
        found = [self.decoder.reading(window) for window in item]
        texts = [[self.decoder.text(words).encode() for _, _, words in each.segments] for each in found]
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


def _error(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def _cancellation(request: Any) -> Callable[[], bool]:
    """How to find out whether a request's caller has given up."""
    name = json.loads(request.parameters() or "{}").get(lifeline.PARAMETER)
    return functools.partial(lifeline.is_cut, str(name)) if name else request.is_cancelled


def _input(request: Any, name: str) -> Array:
    array: Array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    if not np.isfinite(array).all():
        raise InvalidRequest(f"{name} holds NaN or infinity. See what it was computed from.")
    return array


def _seconds(request: Any) -> Array:
    seconds = _input(request, "seconds")
    for value in seconds.reshape(-1):
        if not 0 < value <= WINDOW_SECONDS:
            raise InvalidRequest(
                f"seconds is {value:g}, expected above 0 to {WINDOW_SECONDS}: how much of the window is sound."
            )
    return seconds


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


def _believed(parameters: Mapping[str, Mapping[str, str]]) -> Believed:
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
    names = ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold")
    return Believed(temperatures, **{name: _number(parameters, name) for name in names})


def _number(parameters: Mapping[str, Mapping[str, str]], name: str) -> float:
    """A number out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    try:
        return float(value)
    except ValueError:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a number as string_value. Mend it in config.pbtxt."
        ) from None
