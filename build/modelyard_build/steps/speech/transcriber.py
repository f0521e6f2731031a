"""Sound to timed segments of text, streamed: a decoupled model for Triton's Python backend that calls three others.

The sound is read in blocks of some seconds; voice activity says where the pauses are; each window between pauses, of
30 s at most, goes through the encoder and the decoder, and its segments are sent before the next windows are done. What
is held of a request is its bytes and at most a minute of sound, whatever its length. Silence is answered with an empty
stream. A caller that goes away stops the work: between windows, and before each call.

Reads from config.pbtxt's `parameters`:

- `vad`, `encoder`, `decoder`: the names of the models that are called.
- `streams`: requests that are worked on at a time; further ones wait in Triton's queue.
- `windows_at_once`: of one request; the decoder batches them.
- `max_seconds`, `max_bytes`: longer and larger sound is refused.
- `speech_threshold`: the probability at which speech begins; it ends 0.15 below.
- `min_silence_ms`: a shorter pause is none.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from . import audio, mel
from .windows import CHUNK, Limits, Windows

# The model of voice activity takes so many samples in one request.
VAD_SAMPLES = 300 * CHUNK
# A shorter rest of a window, in seconds, is not heard again; nor is one that hardly shrinks.
LEAST_REST = 1.0

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
# Start and end in seconds of a window, text, language.
Segment = tuple[float, float, bytes, bytes]


class CallFailed(RuntimeError):
    """A called model answered with an error; the message passes it on."""


class Gone(Exception):
    """The caller has given up."""


@dataclass(frozen=True)
class Settings:
    """The step's parameters; see the head of this file."""

    vad: str
    encoder: str
    decoder: str
    streams: int
    windows_at_once: int
    max_seconds: int
    max_bytes: int
    limits: Limits


@dataclass
class Request:
    """A caller's wishes, copied out of Triton's memory, and where the answers go.

    Attributes:
        content: the sound.
        sample_rate: of samples without a header; 0 for a WAV file.
        wishes: what is passed on to the decoder.
        sender: of the responses.
    """

    content: bytes
    sample_rate: int
    wishes: Arrays
    sender: Any

    def check(self) -> None:
        """Raises Gone where the caller has given up."""
        if self.sender.is_cancelled():
            raise Gone


@dataclass
class Heard:
    """The samples that may still be needed.

    Attributes:
        samples: float32.
        start: the number of the first of them in the sound.
    """

    samples: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    start: int = 0

    def add(self, block: npt.NDArray[np.float32]) -> None:
        """Takes what comes next."""
        self.samples = np.concatenate([self.samples, block])

    def take(self, start: int, end: int) -> npt.NDArray[np.float32]:
        """A part of the sound."""
        return self.samples[start - self.start : end - self.start]

    def forget(self, before: int) -> None:
        """Drops what is not needed any more."""
        kept = min(max(before - self.start, 0), len(self.samples))
        self.samples, self.start = self.samples[kept:], self.start + kept


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters.

        Args:
            args: Triton's description of the instance.
        """
        self.settings = _settings(json.loads(args["model_config"])["parameters"])
        self.free = threading.Semaphore(self.settings.streams)
        self.streams = ThreadPoolExecutor(self.settings.streams)
        # Of all requests: what one does not use, another may.
        self.windows = ThreadPoolExecutor(self.settings.streams * self.settings.windows_at_once)

    def execute(self, requests: list[Any]) -> None:
        """Begins with each request as soon as there is room; Triton's queue keeps the others, and their deadlines.

        Args:
            requests: each with `audio`, BYTES [1, 1], and as it likes `sample_rate` and `beam_size`, INT32 [1, 1], and
                `language`, BYTES [1, 1].
        """
        for request in requests:
            self.free.acquire()
            self.streams.submit(self._answer, _copied(request))

    def finalize(self) -> None:
        """Ends the threads, once the requests under way are answered."""
        self.streams.shutdown()
        self.windows.shutdown()

    def _answer(self, request: Request) -> None:
        """Sends the segments, or what was wrong, and the end of the stream."""
        try:
            for outputs in self._segments(request):
                request.check()
                request.sender.send(pb_utils.InferenceResponse(outputs))
        except Gone:
            pass
        except audio.InvalidAudio as error:
            _send_error(request.sender, f"audio {error}", pb_utils.TritonError.INVALID_ARG)
        except CallFailed as error:
            _send_error(request.sender, str(error), pb_utils.TritonError.INTERNAL)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller waits for an end
            pb_utils.Logger.log_error(f"speech: {type(error).__name__}: {error}")
            _send_error(request.sender, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
        finally:
            request.sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            self.free.release()

    def _segments(self, request: Request) -> Iterator[list[Any]]:
        """The tensors of each response, in order, with some windows under way at a time."""
        under_way: deque[tuple[float, Future[list[Segment]]]] = deque()
        for start, samples in self._windows(request):
            under_way.append((start, self.windows.submit(self._transcribed, request, samples)))
            if len(under_way) >= self.settings.windows_at_once or under_way[0][1].done():
                yield from _responses(*under_way.popleft())
        while under_way:
            yield from _responses(*under_way.popleft())

    def _windows(self, request: Request) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
        """Start in seconds and samples of each window with speech."""
        heard, windows = Heard(), Windows(self.settings.limits)
        voice = _Voice(self.settings.vad)
        try:
            for block in _whole_chunks(self._read(request)):
                heard.add(block)
                for part in np.split(block, range(VAD_SAMPLES, len(block), VAD_SAMPLES)):
                    request.check()
                    for window in windows.feed(voice.probabilities(part)):
                        yield _of(heard, *window)
                heard.forget(windows.needed_from() * CHUNK)
            for window in windows.finish():
                yield _of(heard, *window)
        finally:
            voice.end()

    def _read(self, request: Request) -> Iterator[npt.NDArray[np.float32]]:
        settings, content = self.settings, request.content
        if len(content) > settings.max_bytes:
            raise audio.InvalidAudio(
                f"has {len(content)} bytes, at most {settings.max_bytes} are read. Send it as 16 kHz, mono, 16 bits, "
                "or in parts."
            )
        found = audio.raw(content, request.sample_rate) if request.sample_rate else audio.wav(content)
        if found.seconds > settings.max_seconds:
            raise audio.InvalidAudio(
                f"is {found.seconds:.1f} s long, at most {settings.max_seconds} s are read. Send it in parts."
            )
        return found.blocks()

    def _transcribed(self, request: Request, samples: npt.NDArray[np.float32]) -> list[Segment]:
        """What is said in a window; where the decoder broke off within it, the rest is another one."""
        found, start, duration = list[Segment](), 0.0, len(samples) / audio.SAMPLE_RATE
        while True:
            outputs = self._decoded(request, samples[round(start * audio.SAMPLE_RATE) :])
            language = outputs["language"][0, 0]
            for first, last, text in zip(*(outputs[name][0] for name in ("start", "end", "text")), strict=True):
                found.append((start + float(first), start + float(last), text, language))
            until = float(outputs["until"][0, 0])
            start += until
            if until < LEAST_REST or duration - start < LEAST_REST:
                return found

    def _decoded(self, request: Request, samples: npt.NDArray[np.float32]) -> Arrays:
        """The decoder's outputs."""
        request.check()
        (states,) = _call(self.settings.encoder, {"log_mel": mel.log_mel(samples)[None]}, ["states"])
        request.check()
        seconds = np.array([[len(samples) / audio.SAMPLE_RATE]], np.float32)
        names = ["start", "end", "text", "until", "language"]
        found = _call(self.settings.decoder, {"states": states, "seconds": seconds, **request.wishes}, names)
        return {name: tensor.as_numpy() for name, tensor in zip(names, found, strict=True)}


class _Voice:
    """One sequence of the model of voice activity, from its start to its end."""

    def __init__(self, model: str) -> None:
        self._model = model
        # Clients count their own from 1: theirs and these do not meet.
        self._number = secrets.randbits(62) | 1 << 62
        self._flags = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
        self._begun = False

    def probabilities(self, samples: npt.NDArray[np.float32]) -> list[float]:
        """Of each chunk of what comes next; a last one that is not whole is filled up with silence."""
        found = self._call(np.pad(samples, (0, -len(samples) % CHUNK)), 0)
        self._begun = True
        return list(map(float, found.reshape(-1)))

    def end(self) -> None:
        """Frees what the model keeps of it; where that fails, its idle time does."""
        if self._begun:
            try:
                self._call(np.zeros(CHUNK, np.float32), pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END)
            except CallFailed as error:
                pb_utils.Logger.log_warn(f"speech: the end of a sequence was not taken: {error}")

    def _call(self, samples: npt.NDArray[np.float32], flags: int) -> Array:
        sequence = {"correlation_id": self._number, "flags": self._flags | flags}
        self._flags = 0
        (found,) = _call(self._model, {"audio": samples[None]}, ["speech_probability"], **sequence)
        probabilities: Array = found.as_numpy()
        return probabilities


def _call(model: str, inputs: Mapping[str, Any], outputs: list[str], **more: int) -> list[Any]:
    """Another model's answer, as tensors in the order of `outputs`.

    Args:
        model: its name.
        inputs: arrays, or tensors of the same name, such as another model's answer: those are not copied.
        outputs: the names.
        more: of the request, as `pb_utils.InferenceRequest` takes it.

    Raises:
        CallFailed: it answered with an error.
    """
    tensors = [
        pb_utils.Tensor(name, np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value
        for name, value in inputs.items()
    ]
    request = pb_utils.InferenceRequest(model_name=model, requested_output_names=outputs, inputs=tensors, **more)
    response = request.exec()
    if response.has_error():
        raise CallFailed(f"{model}: {response.error().message()}")
    return [pb_utils.get_output_tensor_by_name(response, name) for name in outputs]


def _copied(request: Any) -> Request:
    """What a request brought: its own memory is Triton's, and may go when `execute` returns."""
    inputs = {each.name(): each.as_numpy() for each in request.inputs()}
    return Request(
        content=bytes(inputs["audio"].reshape(-1)[0]),
        sample_rate=int(inputs["sample_rate"].reshape(-1)[0]) if "sample_rate" in inputs else 0,
        wishes={name: inputs[name].copy() for name in ("language", "beam_size") if name in inputs},
        sender=request.get_response_sender(),
    )


def _whole_chunks(blocks: Iterator[npt.NDArray[np.float32]]) -> Iterator[npt.NDArray[np.float32]]:
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


def _of(heard: Heard, first: int, behind: int) -> tuple[float, npt.NDArray[np.float32]]:
    return first * CHUNK / audio.SAMPLE_RATE, heard.take(first * CHUNK, behind * CHUNK).copy()


def _responses(begin: float, window: Future[list[Segment]]) -> Iterator[list[Any]]:
    """The tensors of each segment of a window that begins at `begin`, in seconds."""
    for start, end, text, language in window.result():
        yield [
            pb_utils.Tensor("start", np.array([[begin + start]], np.float32)),
            pb_utils.Tensor("end", np.array([[begin + end]], np.float32)),
            pb_utils.Tensor("text", np.array([[text]], np.object_)),
            pb_utils.Tensor("language", np.array([[language]], np.object_)),
        ]


def _send_error(sender: Any, message: str, code: Any) -> None:
    sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code)))


def _settings(parameters: Mapping[str, Mapping[str, str]]) -> Settings:
    return Settings(
        vad=_text(parameters, "vad"),
        encoder=_text(parameters, "encoder"),
        decoder=_text(parameters, "decoder"),
        streams=int(_number(parameters, "streams")),
        windows_at_once=int(_number(parameters, "windows_at_once")),
        max_seconds=int(_number(parameters, "max_seconds")),
        max_bytes=int(_number(parameters, "max_bytes")),
        limits=Limits.of(_number(parameters, "speech_threshold"), _number(parameters, "min_silence_ms")),
    )


def _text(parameters: Mapping[str, Mapping[str, str]], name: str) -> str:
    value = parameters.get(name, {}).get("string_value", "")
    if not value:
        raise ValueError(f"parameters {{ key: {name!r} }} is missing in config.pbtxt, expected a model's name.")
    return value


def _number(parameters: Mapping[str, Mapping[str, str]], name: str) -> float:
    """A positive number out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if number <= 0:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a number above 0 as string_value. Mend it in "
            "config.pbtxt."
        )
    return number
