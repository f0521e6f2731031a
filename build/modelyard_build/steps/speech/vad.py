"""Voice activity in a stream of sound: a model with state for Triton's Python backend.

A sequence is one voice: 16 kHz, mono, from -1 to 1. Each request brings one or more chunks of 512 samples, and gets the
probability of speech for each. What a chunk leaves behind, the LSTM's state and its last 64 samples, is kept here by
correlation id until the sequence ends, or until Triton has given it up (`max_sequence_idle_microseconds`).

Chunks of several sequences that Triton batched run together. The version folder holds the graph, `silero_vad.onnx`.

Reads from config.pbtxt's `parameters`:

- `max_chunks`: a request may bring so many chunks.
- `intra_op_thread_count`: threads of ONNX Runtime; a chunk is a tenth of a millisecond of one core.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils

SAMPLE_RATE = np.array(16_000, np.int64)
CHUNK, CONTEXT, STATE = 512, 64, 128

Array = npt.NDArray[np.float32]


class InvalidChunk(ValueError):
    """Samples that cannot be read; the message is the request's answer."""


@dataclass
class Voice:
    """What a sequence leaves behind.

    Attributes:
        touched: when its last request came, in seconds of the monotonic clock.
        state: of the LSTM, float32 [2, 128].
        context: the last samples, float32 [64].
    """

    touched: float
    state: Array = field(default_factory=lambda: np.zeros((2, STATE), np.float32))
    context: Array = field(default_factory=lambda: np.zeros(CONTEXT, np.float32))


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters and the graph.

        Args:
            args: Triton's description of the instance.
        """
        config = json.loads(args["model_config"])
        self.max_chunks = _integer(config["parameters"], "max_chunks", 1)
        self.idle_s = int(config["sequence_batching"]["max_sequence_idle_microseconds"]) / 1e6
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _integer(config["parameters"], "intra_op_thread_count", 0)
        folder = Path(args["model_repository"]) / args["model_version"]
        self.session = onnxruntime.InferenceSession(
            str(folder / "silero_vad.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.voices: dict[int, Voice] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Hears the chunks of all requests together; a bad one fails alone, and its sequence goes on.

        Args:
            requests: each of another sequence, with `audio`, FP32 [1, samples], and the controls START, END, CORRID.

        Returns:
            A response for each: `speech_probability` FP32 [1, chunks].
        """
        now = time.monotonic()
        self._forget(now)
        answers: dict[int, Array | InvalidChunk] = {}
        heard: dict[int, tuple[Voice, Array]] = {}
        for place, request in enumerate(requests):
            try:
                heard[place] = self._voice(request, now), self._chunks(request)
            except InvalidChunk as error:
                answers[place] = error
        answers.update(zip(heard, self._probabilities(list(heard.values())), strict=True))
        for request in requests:
            if _control(request, "END"):
                self.voices.pop(_control(request, "CORRID"), None)
        return [_response(answers[place]) for place in range(len(requests))]

    def _forget(self, now: float) -> None:
        """Drops what Triton has given up for being idle: it tells nobody."""
        for number in [number for number, voice in self.voices.items() if now - voice.touched > self.idle_s]:
            del self.voices[number]

    def _voice(self, request: Any, now: float) -> Voice:
        number = _control(request, "CORRID")
        if _control(request, "START"):
            self.voices[number] = Voice(now)
        elif number not in self.voices:
            raise InvalidChunk(
                f"sequence {number} is not known any more: it was idle for longer than {self.idle_s:g} s, or the model "
                "was loaded again. Start it again (sequence_start), with the sound from its start."
            )
        self.voices[number].touched = now
        return self.voices[number]

    def _chunks(self, request: Any) -> Array:
        """float32 [chunks, 512]."""
        samples = pb_utils.get_input_tensor_by_name(request, "audio").as_numpy().reshape(-1)
        if not len(samples) or len(samples) % CHUNK or len(samples) > self.max_chunks * CHUNK:
            raise InvalidChunk(
                f"audio has {len(samples)} samples, expected a multiple of {CHUNK}, at most "
                f"{self.max_chunks * CHUNK}. Send whole chunks; fill the last one up with zeros."
            )
        if not (np.abs(samples) <= 1).all():
            raise InvalidChunk(
                f"audio goes from {samples.min():g} to {samples.max():g}, expected -1 to 1. Divide 16-bit samples by "
                "32768."
            )
        chunks: Array = samples.reshape(-1, CHUNK)
        return chunks

    def _probabilities(self, heard: Sequence[tuple[Voice, Array]]) -> list[Array]:
        """Runs chunk after chunk, for all voices that have one left at a time."""
        found = [np.empty((1, len(chunks)), np.float32) for _, chunks in heard]
        for number in range(max((len(chunks) for _, chunks in heard), default=0)):
            places = [place for place, (_, chunks) in enumerate(heard) if number < len(chunks)]
            probabilities = self._run([(heard[place][0], heard[place][1][number]) for place in places])
            for place, probability in zip(places, probabilities, strict=True):
                found[place][0, number] = probability
        return found

    def _run(self, heard: Sequence[tuple[Voice, Array]]) -> Array:
        """One chunk of each voice: float32 [voices]."""
        samples = np.stack([np.concatenate([voice.context, chunk]) for voice, chunk in heard])
        state = np.stack([voice.state for voice, _ in heard], axis=1)
        found, state = self.session.run(None, {"input": samples, "state": state, "sr": SAMPLE_RATE})
        for place, (voice, chunk) in enumerate(heard):
            voice.state, voice.context = state[:, place], chunk[-CONTEXT:].copy()
        probabilities: Array = found[:, 0]
        return probabilities


def _response(answer: Array | InvalidChunk) -> Any:
    if isinstance(answer, InvalidChunk):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG))
    return pb_utils.InferenceResponse([pb_utils.Tensor("speech_probability", np.ascontiguousarray(answer))])


def _control(request: Any, name: str) -> int:
    return int(pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)[0])


def _integer(parameters: Mapping[str, Mapping[str, str]], name: str, least: int) -> int:
    """A whole number out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    if not value.isdigit() or int(value) < least:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a whole number from {least} as string_value. "
            "Mend it in config.pbtxt."
        )
    return int(value)
