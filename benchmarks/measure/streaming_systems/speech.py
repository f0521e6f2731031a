"""`speech`, beside its models without Triton: windows cut in the pauses, encoded and decoded in full batches."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from measure.python_steps import answers, initialised
from measure.repositories import newest, stated_config
from measure.served import Tensors
from measure.streaming_systems.system import Own, Streamed
from measure.system import served_candidate
from modelyard_build.assets import fetch
from modelyard_build.datasets import spoken_clips, spoken_inputs
from modelyard_build.datasets.spoken_inputs import CHUNK, SAMPLE_RATE
from modelyard_build.model import Array
from modelyard_build.models import speech
from modelyard_build.sources import pinned_assets
from modelyard_build.steps.speech import audio, mel, windows
from modelyard_build.targets import target_of
from modelyard_build.targets.target import Run

# Between two clips: a pause that separates them.
PAUSE_S = 0.5
# A shorter rest of a window is not heard again; as the step has it.
LEAST_REST_S = 1.0
# Of one request to the model of voice activity.
VAD_SAMPLES = 300 * CHUNK


@functools.cache
def _clips() -> tuple[Array, ...]:
    files = fetch(pinned_assets(speech.SPEECH), print)
    return tuple(spoken_inputs.samples_of(content) for content in spoken_inputs.clip_files(files))


def request(number: int, size: int) -> Tensors:
    """A recording of so many clips; each number begins with another one."""
    clips, pause = _clips(), np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    parts = [part for place in range(size) for part in (clips[(number + place) % len(clips)], pause)]
    content = (np.concatenate(parts).clip(-1, 1) * 32767).astype("<i2").tobytes()
    return {
        "audio": np.array([[content]], np.object_),
        "sample_rate": np.array([[SAMPLE_RATE]], np.int32),
        "language": np.array([[b"en"]], np.object_),
    }


@dataclass(frozen=True)
class _Parts:
    """What the step calls, each of it once, as Triton has it.

    Attributes:
        vad: the step of voice activity.
        encode: the encoder's artefact.
        decoder: the step that decodes.
        limits: of the windows.
    """

    vad: Any
    encode: Run
    decoder: Any
    limits: windows.Limits

    def transcribe(self, requests: Sequence[Tensors]) -> int:
        """The segments of all recordings; their windows go through the models in full batches."""
        waiting = [window for request in requests for window in self._windows(request)]
        found = 0
        while waiting:
            batch, waiting = waiting[: speech.MAX_BATCH_SIZE], waiting[speech.MAX_BATCH_SIZE :]
            for samples, answer in zip(batch, self._decoded(batch), strict=True):
                found += answer["text"].shape[1]
                waiting += _rest(samples, float(answer["until"][0, 0]))
        return found

    def _windows(self, request: Tensors) -> Iterator[Array]:
        samples = np.concatenate([*audio.raw(request["audio"][0, 0], SAMPLE_RATE).blocks()])
        filled = np.pad(samples, (0, -len(samples) % CHUNK))
        cutter = windows.Windows(self.limits)
        spans = [*cutter.feed(self._probabilities(filled)), *cutter.finish()]
        return (filled[start * CHUNK : end * CHUNK] for start, end in spans)

    def _probabilities(self, samples: Array) -> Iterator[float]:
        """Of each chunk, as one sequence."""
        starts = range(0, len(samples), VAD_SAMPLES)
        for start in starts:
            flags = {"START": start == 0, "END": start == starts[-1], "CORRID": 1}
            controls = {name: np.array([[int(value)]]) for name, value in flags.items()}
            (answer,) = answers(self.vad, [{"audio": samples[None, start : start + VAD_SAMPLES], **controls}])
            yield from answer["speech_probability"].reshape(-1).tolist()

    def _decoded(self, batch: Sequence[Array]) -> list[Tensors]:
        states = self.encode({"log_mel": np.stack([mel.log_mel(samples) for samples in batch])})["states"]
        return answers(
            self.decoder,
            [
                {
                    "states": states[place : place + 1],
                    "seconds": np.array([[len(samples) / SAMPLE_RATE]], np.float32),
                    "language": np.array([[b"en"]], np.object_),
                }
                for place, samples in enumerate(batch)
            ],
        )


def _rest(samples: Array, until: float) -> list[Array]:
    """What the step hears again of a window in which the decoder broke off, if anything."""
    rest = samples[round(until * SAMPLE_RATE) :]
    return [rest] if until >= LEAST_REST_S and len(rest) >= LEAST_REST_S * SAMPLE_RATE else []


def own(repository: Path, config_name: str) -> Own:
    """Voice activity, the encoder's artefact and the decoder's step, one after the other."""
    candidate = served_candidate(repository, speech.ENCODER, config_name)
    encode = target_of(candidate).runner(candidate, newest(repository, speech.ENCODER.name), speech.ENCODER)
    parameters = stated_config(repository, speech.SPEECH.name, config_name).parameters
    parts = _Parts(
        initialised(repository, speech.VAD.name, config_name),
        encode,
        initialised(repository, speech.DECODER.name, config_name),
        windows.Limits.of(
            float(parameters["speech_threshold"].string_value), float(parameters["min_silence_ms"].string_value)
        ),
    )

    def rate(requests: Sequence[Tensors]) -> float:
        start = time.perf_counter()
        return parts.transcribe(requests) / (time.perf_counter() - start)

    return Own(f"encoder {candidate.name}", rate)


SPEECH_STREAMS = Streamed(
    items="segments", size=2 * len(spoken_clips.TRANSCRIPTS), request=request, count=lambda response: 1, own=own
)
