"""Whether somebody speaks, while the sound comes in: state on the server, by correlation id."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable

import numpy as np

from modelyard_client.aio import AsyncClient
from modelyard_client.client import Client
from modelyard_client.datatypes import Array
from modelyard_client.errors import InvalidInput

SAMPLE_RATE, CHUNK = 16_000, 512
INPUT, OUTPUT = "audio", "speech_probability"


class Chunks:
    """Blocks of any size to whole chunks of 512 samples."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def add(self, block: Array) -> Array:
        """The chunks that a block completes: float32 [n * 512].

        Raises:
            InvalidInput: It is of another shape, dtype or range.
        """
        if block.ndim != 1 or (block.dtype != np.int16 and block.dtype.kind != "f"):
            raise InvalidInput(
                f"a block is {block.dtype} {list(block.shape)}; it is mono at 16 kHz, one dimension, int16 or floats "
                "from -1 to 1."
            )
        samples = block / np.float32(32768) if block.dtype == np.int16 else block
        joined = np.concatenate([self._rest, samples.astype(np.float32)])
        whole = len(joined) // CHUNK * CHUNK
        self._rest = joined[whole:]
        return joined[:whole]

    def last(self) -> Array:
        """What is left, filled up with silence: float32 [512]."""
        return np.pad(self._rest, (0, CHUNK - len(self._rest)))


class VoiceActivity:
    """Says for each 32 ms of a live sound how probably somebody speaks.

    Args:
        client: Where the model is.
        model: A model that keeps state, with the input `audio` FP32 [samples] and the output `speech_probability` FP32
            [chunks of 512].
    """

    def __init__(self, client: Client, model: str = "speech_vad") -> None:
        self._client = client
        self._name = model

    def probabilities(self, blocks: Iterable[Array], *, deadline: float | None = None) -> Generator[float, None, None]:
        """Yields the probability of speech in each chunk of 512 samples, as soon as it is full.

        Args:
            blocks: The sound in pieces of any length up to some seconds, 16 kHz, mono: int16, or floats from -1 to 1.
                A last chunk that is not full is filled up with silence.
            deadline: Seconds for each request; None takes the client's.

        Raises:
            InvalidInput: A block is of another kind.
            SequenceLost: The server knows the sequence no more: it was restarted, or the pause was too long. Start
                again.
            ClientError: As `Client.infer`.
        """
        chunks = Chunks()
        with self._client.sequence(self._name, deadline=deadline) as sequence:
            for block in blocks:
                samples = chunks.add(block)
                if len(samples):
                    yield from parse_probabilities(sequence.infer({INPUT: samples[None]})[OUTPUT])
            yield from parse_probabilities(sequence.infer({INPUT: chunks.last()[None]}, end=True)[OUTPUT])


class AsyncVoiceActivity:
    """`VoiceActivity` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = "speech_vad") -> None:
        self._client = client
        self._name = model

    async def probabilities(
        self, blocks: AsyncIterable[Array], *, deadline: float | None = None
    ) -> AsyncGenerator[float, None]:
        """As `VoiceActivity.probabilities`."""
        chunks = Chunks()
        async with self._client.sequence(self._name, deadline=deadline) as sequence:
            async for block in blocks:
                samples = chunks.add(block)
                if len(samples):
                    for probability in parse_probabilities((await sequence.infer({INPUT: samples[None]}))[OUTPUT]):
                        yield probability
            last = await sequence.infer({INPUT: chunks.last()[None]}, end=True)
            for probability in parse_probabilities(last[OUTPUT]):
                yield probability


def parse_probabilities(row: Array) -> list[float]:
    """FP32 [1, chunks] as numbers."""
    return [float(value) for value in row.reshape(-1)]
