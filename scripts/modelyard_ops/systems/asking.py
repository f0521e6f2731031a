"""A served model asked with its golden samples, as its kind wants to be asked, by several callers at once."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard_client import Client
from modelyard_client.datatypes import NUMPY_DTYPES, decode

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Asked:
    """What a system did while it was asked.

    Attributes:
        seconds: of each request, to its last response.
        first_seconds: of each request, to its first response; as `seconds` where a request has one.
        elapsed: seconds, from the first request to the last answer.
    """

    seconds: tuple[float, ...]
    first_seconds: tuple[float, ...]
    elapsed: float

    @property
    def per_second(self) -> float:
        """Requests that were answered in a second."""
        return len(self.seconds) / self.elapsed

    def milliseconds(self, percentile: float) -> float:
        """A percentile of the time to the last response."""
        return 1000 * float(np.percentile(self.seconds, percentile))

    @property
    def first_milliseconds(self) -> float:
        """The median time to the first response."""
        return 1000 * float(np.median(self.first_seconds))


def ask(client: Client, model: str, samples: Sequence[Mapping[str, Any]], seconds: float, callers: int) -> Asked:
    """Keeps so many requests under way for a while; each sample is asked at least once.

    Args:
        client: connected by gRPC.
        model: its name.
        samples: in perf_analyzer's form, without the batch dimension.
        seconds: how long; a request that is under way then is waited for.
        callers: requests at a time.

    Raises:
        ClientError: a request failed.
    """
    inputs = [arrays_of(client, model, sample) for sample in samples]
    send = _sender(client, model)
    for each in inputs:
        send(each)
    numbers, started = count(), time.perf_counter()

    def call(_: int) -> list[tuple[float, float]]:
        taken = []
        while time.perf_counter() < started + seconds:
            taken.append(send(inputs[next(numbers) % len(inputs)]))
        return taken

    with ThreadPoolExecutor(callers) as pool:
        found = [pair for pairs in pool.map(call, range(callers)) for pair in pairs]
    elapsed = time.perf_counter() - started
    return Asked(tuple(last for _, last in found), tuple(first for first, _ in found), elapsed)


def arrays_of(client: Client, model: str, sample: Mapping[str, Any]) -> Arrays:
    """A golden sample as a request for one item."""
    batch = [1] if client.config(model).max_batch_size else []
    datatypes = {tensor.name: tensor.datatype for tensor in client.metadata(model).inputs}
    return {name: _array(tensor, datatypes[name], batch) for name, tensor in sample.items()}


def _array(tensor: Mapping[str, Any], datatype: str, batch: list[int]) -> npt.NDArray[Any]:
    shape, content = (*batch, *tensor["shape"]), tensor["content"]
    if isinstance(content, dict):
        return decode(base64.b64decode(content["b64"]), datatype, shape)
    if datatype == "BYTES":
        return np.array([text.encode() for text in content], np.object_).reshape(shape)
    return np.array(content, NUMPY_DTYPES[datatype]).reshape(shape)


def _sender(client: Client, model: str) -> Callable[[Arrays], tuple[float, float]]:
    """What sends one request and gives the seconds to its first and to its last response."""
    config = client.config(model)
    if config.model_transaction_policy.decoupled:
        return lambda inputs: _timed_stream(client, model, inputs)
    if config.HasField("sequence_batching"):
        return lambda inputs: _timed(lambda: _in_a_sequence(client, model, inputs))
    return lambda inputs: _timed(lambda: client.infer(model, inputs))


def _in_a_sequence(client: Client, model: str, inputs: Arrays) -> None:
    with client.sequence(model) as sequence:
        sequence.infer(inputs, end=True)


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    started = time.perf_counter()
    call()
    taken = time.perf_counter() - started
    return taken, taken


def _timed_stream(client: Client, model: str, inputs: Arrays) -> tuple[float, float]:
    started, first = time.perf_counter(), 0.0
    for _ in client.stream(model, inputs):
        first = first or time.perf_counter() - started
    taken = time.perf_counter() - started
    return first or taken, taken
