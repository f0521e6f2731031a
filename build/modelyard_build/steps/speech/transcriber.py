"""Sound to timed segments of text, streamed: a decoupled model for Triton's Python backend that calls three others.

The sound is read in blocks of some seconds; voice activity says where the pauses are; each window between pauses, of
30 s at most, goes through the encoder and the decoder, and its segments are sent before the next windows are done. What
is held of a request is its bytes and at most a minute of sound, whatever its length. Silence is answered with an empty
stream. A caller that goes away stops the work: between windows, before each call, and within the decoder's loop.

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
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from . import audio, mel
from .calls import CallFailed, Voice, call
from .heard import Heard, Samples, whole_chunks
from .lifeline import PARAMETER
from .request import Gone, Request, Watch
from .windows import CHUNK, Limits, Windows

# The model of voice activity takes so many samples in one request.
VAD_SAMPLES = 300 * CHUNK
# A shorter rest of a window, in seconds, is not heard again; nor is one that hardly shrinks.
LEAST_REST = 1.0

Arrays = dict[str, npt.NDArray[Any]]
# Start and end in seconds of a window, text, language.
Segment = tuple[float, float, bytes, bytes]


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
        self.watch = Watch()
        self.watch.start()

    def execute(self, requests: list[Any]) -> None:
        """Begins with each request as soon as there is room; Triton's queue keeps the others, and their deadlines.

        Args:
            requests: each with `audio`, BYTES [1, 1], and as it likes `sample_rate` and `beam_size`, INT32 [1, 1], and
                `language`, BYTES [1, 1].
        """
        for request in requests:
            asked = Request(request)
            self.free.acquire()
            self.streams.submit(self._answer, asked)

    def finalize(self) -> None:
        """Ends the threads, once the requests under way are answered."""
        self.streams.shutdown()
        self.windows.shutdown()
        self.watch.stop()

    def _answer(self, request: Request) -> None:
        """Sends the segments, or what was wrong, and the end of the stream."""
        try:
            with self.watch.over(request):
                for outputs in self._segments(request):
                    request.send(outputs)
        except Gone:
            pass
        except audio.InvalidAudio as error:
            request.fail(f"audio {error}", pb_utils.TritonError.INVALID_ARG)
        except CallFailed as error:
            request.fail(str(error), pb_utils.TritonError.INTERNAL)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller waits for an end
            pb_utils.Logger.log_error(f"speech: {type(error).__name__}: {error}")
            request.fail(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
        finally:
            request.end()
            self.free.release()

    def _segments(self, request: Request) -> Iterator[list[Any]]:
        """The tensors of each response, in order, with some windows under way at a time."""
        under_way: deque[tuple[float, Future[list[Segment]]]] = deque()
        for start, samples in self._windows(request):
            under_way.append((start, self.windows.submit(self._transcribed, request, samples)))
            if len(under_way) >= self.settings.windows_at_once or under_way[0][1].done():
                yield from _responses(*_result(under_way.popleft()))
        while under_way:
            yield from _responses(*_result(under_way.popleft()))

    def _windows(self, request: Request) -> Iterator[tuple[float, Samples]]:
        """Start in seconds and samples of each window with speech."""
        heard, windows = Heard(), Windows(self.settings.limits)
        voice = Voice(self.settings.vad)
        try:
            for block in whole_chunks(self._read(request)):
                heard.add(block)
                for part in np.split(block, range(VAD_SAMPLES, len(block), VAD_SAMPLES)):
                    request.check()
                    for first, behind in windows.feed(voice.probabilities(part)):
                        yield _seconds(first), heard.chunks(first, behind)
                heard.forget(windows.needed_from())
            for first, behind in windows.finish():
                yield _seconds(first), heard.chunks(first, behind)
        finally:
            voice.end()

    def _read(self, request: Request) -> Iterator[Samples]:
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

    def _transcribed(self, request: Request, samples: Samples) -> list[Segment]:
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

    def _decoded(self, request: Request, samples: Samples) -> Arrays:
        """The decoder's outputs."""
        request.check()
        (states,) = call(self.settings.encoder, {"log_mel": mel.log_mel(samples)[None]}, ["states"])
        request.check()
        seconds = np.array([[len(samples) / audio.SAMPLE_RATE]], np.float32)
        names = ["start", "end", "text", "until", "language"]
        inputs = {"states": states, "seconds": seconds, **request.wishes}
        found = call(self.settings.decoder, inputs, names, parameters={PARAMETER: request.lifeline.name})
        return {name: tensor.as_numpy() for name, tensor in zip(names, found, strict=True)}


def _seconds(chunk: int) -> float:
    return chunk * CHUNK / audio.SAMPLE_RATE


def _result(window: tuple[float, Future[list[Segment]]]) -> tuple[float, list[Segment]]:
    """When a window begins, and what is said in it."""
    try:
        return window[0], window[1].result()
    finally:
        # A frame that holds what failed is held by its traceback: the sound would stay until the collector comes.
        del window


def _responses(begin: float, segments: list[Segment]) -> Iterator[list[Any]]:
    """The tensors of each segment of a window that begins at `begin`, in seconds."""
    for start, end, text, language in segments:
        yield [
            pb_utils.Tensor("start", np.array([[begin + start]], np.float32)),
            pb_utils.Tensor("end", np.array([[begin + end]], np.float32)),
            pb_utils.Tensor("text", np.array([[text]], np.object_)),
            pb_utils.Tensor("language", np.array([[language]], np.object_)),
        ]


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
