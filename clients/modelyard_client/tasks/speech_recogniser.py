"""Sound in, a stream of timed segments of text out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from modelyard_client.aio import AsyncClient
from modelyard_client.client import Client
from modelyard_client.datatypes import Array
from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata
from modelyard_client.result import Result
from modelyard_client.tasks.streamed import AsyncStreamed, Streamed

INPUTS = ("audio", "sample_rate", "language", "beam_size")
OUTPUTS = ("start", "end", "text", "language")

# A WAV file's bytes or path, or samples [n] (int16, or floats from -1 to 1) and how many there are in a second.
Audio: TypeAlias = bytes | Path | tuple[Array, int]


@dataclass(frozen=True)
class Segment:
    """What was said in a stretch of time.

    Attributes:
        start: In seconds of the sound.
        end: Likewise.
        text: As it is written in the language that was spoken.
        language: Its code ("en"), given or found out.
    """

    start: float
    end: float
    text: str
    language: str


class SpeechRecogniser:
    """Writes down what is said, with a model that streams segments, over gRPC.

    Args:
        client: Where the model is.
        model: A decoupled model with the input `audio` BYTES [1], the optional `sample_rate` and `beam_size` INT32 [1]
            and `language` BYTES [1], and the outputs `start` and `end` FP32 [1], `text` and `language` BYTES [1].
    """

    def __init__(self, client: Client, model: str = "speech") -> None:
        self._model = Streamed(client, model, check_tensors, parse_segment)

    def transcribe(
        self, audio: Audio, *, language: str = "", beam_size: int | None = None, deadline: float | None = None
    ) -> Generator[Segment, None, None]:
        """Yields each segment as soon as it is there; of silence none. Closing the generator stops the work.

        Args:
            audio: A WAV file as `bytes` or `Path`, of any usual rate, width and number of channels; or samples, mono,
                and their rate.
            language: The code of what is spoken ("en"); empty has it found out, for each window anew.
            beam_size: How many hypotheses are followed; None leaves it to the model.
            deadline: Seconds until the last segment; None takes the client's. An hour of sound takes minutes.

        Raises:
            InvalidInput: The file cannot be read here, or something else is out of range.
            InferenceFailed: The server cannot read the sound, or refuses a wish; says why. (A stream of Triton's has no
                codes by which the two could be told from a failure.)
            IncompatibleModel: The model is of another kind.
            ClientError: As `Client.stream`; each segment that came before is whole.
        """
        return self._model.responses(checked_request(audio, language, beam_size), deadline)


class AsyncSpeechRecogniser:
    """`SpeechRecogniser` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = "speech") -> None:
        self._model = AsyncStreamed(client, model, check_tensors, parse_segment)

    def transcribe(
        self, audio: Audio, *, language: str = "", beam_size: int | None = None, deadline: float | None = None
    ) -> AsyncGenerator[Segment, None]:
        """As `SpeechRecogniser.transcribe`; `contextlib.aclosing` closes it."""
        return self._model.responses(checked_request(audio, language, beam_size), deadline)


def checked_request(audio: Audio, language: str, beam_size: int | None) -> dict[str, Array]:
    """The inputs of a request, each [1, 1].

    Raises:
        InvalidInput: One of them is none; says which.
    """
    content, rate = content_of(audio)
    inputs = {"audio": np.array([[content]], np.object_)}
    if rate:
        inputs["sample_rate"] = np.array([[rate]], np.int32)
    if language:
        inputs["language"] = np.array([[language.encode()]], np.object_)
    if beam_size is not None:
        if beam_size < 1:
            raise InvalidInput(f"beam_size is {beam_size}; it is a number of hypotheses, 1 or more.")
        inputs["beam_size"] = np.array([[beam_size]], np.int32)
    return inputs


def content_of(audio: Audio) -> tuple[bytes, int]:
    """What is sent, and the rate of what has no header; 0 for a file.

    Raises:
        InvalidInput: It is neither, is empty, or cannot be read.
    """
    if isinstance(audio, tuple):
        return pcm_of(*audio)
    if not isinstance(audio, bytes | Path):
        hint = "; for a path, pass pathlib.Path(...)" if isinstance(audio, str) else ""
        raise InvalidInput(
            f"audio is a {type(audio).__name__}; it is the bytes of a WAV file, its pathlib.Path, or samples and their "
            f"rate{hint}."
        )
    content = audio if isinstance(audio, bytes) else _read(audio)
    if not content:
        raise InvalidInput("audio is empty; see what it was read from.")
    return content, 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error


def pcm_of(samples: Array, rate: int) -> tuple[bytes, int]:
    """Samples as 16-bit numbers, little-endian.

    Raises:
        InvalidInput: They are of another shape, dtype or range.
    """
    if samples.ndim != 1 or not samples.size:
        raise InvalidInput(
            f"audio has the shape {list(samples.shape)}; samples are mono, one dimension, and not empty."
        )
    if samples.dtype == np.int16:
        return samples.astype("<i2").tobytes(), int(rate)
    if samples.dtype.kind != "f" or not (np.abs(samples) <= 1).all():
        raise InvalidInput(f"audio is {samples.dtype}; samples are int16, or floats from -1 to 1.")
    return (samples * 32767).astype("<i2").tobytes(), int(rate)


def check_tensors(metadata: ModelMetadata) -> None:
    """Raises IncompatibleModel unless the model takes sound and gives segments."""
    inputs, outputs = ({spec.name for spec in specs} for specs in (metadata.inputs, metadata.outputs))
    missing = [*(f"input {name}" for name in INPUTS if name not in inputs)]
    missing += [f"output {name}" for name in OUTPUTS if name not in outputs]
    if missing:
        raise IncompatibleModel(
            f"model '{metadata.name}' has no {', no '.join(missing)}; this task needs the inputs {', '.join(INPUTS)} "
            f"and the outputs {', '.join(OUTPUTS)}. Pass the name of such a model.",
            model=metadata.name,
        )


def parse_segment(result: Result) -> Segment:
    """One response."""
    start, end, text, language = (result[name].reshape(-1)[0] for name in OUTPUTS)
    return Segment(float(start), float(end), text.decode(), language.decode())
