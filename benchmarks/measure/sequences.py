"""Sequences under load: the requests of many at a time, the step alone in this process, and the memory of both."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import psutil
from tritonclient import grpc

from measure.intervals import Interval, mean_interval, ratio_interval
from measure.load_generator import Round
from measure.python_steps import Request
from measure.served import Tensors, add_parameters
from modelyard_server.errors import ServerError

SERVER = "tritonserver"


def endings(count: int) -> list[str]:
    """What makes one request that of another sequence, from 1 to so many: see `load_generator.Order`."""
    return [_ending(number) for number in range(1, count + 1)]


def _ending(number: int) -> str:
    request = grpc.service_pb2.ModelInferRequest()
    add_parameters(request, sequence_id=number)
    return str(request.SerializeToString().hex())


@dataclass(frozen=True)
class Memory:
    """What is resident, in bytes.

    Attributes:
        step: of the process of the step's instance.
        server: of Triton itself.
    """

    step: int
    server: int


def memory(pid: int, model: str) -> Memory:
    """Of a server and the step's only instance.

    Args:
        pid: the server's, or that of what started it.
        model: the step's name.

    Raises:
        ServerError: there is no such process, or several.
    """
    root = psutil.Process(pid)
    processes = [root, *root.children(recursive=True)]
    step = [each for each in processes if any(f"/{model}/" in word for word in each.cmdline())]
    server = [each for each in processes if each.name() == SERVER]
    if len(step) != 1 or len(server) != 1:
        raise ServerError(
            f"{len(step)} processes of {model} and {len(server)} of {SERVER}, expected one of each: the benchmark "
            "takes a step with one instance. Set count to 1 in its instance_group."
        )
    return Memory(step[0].memory_info().rss, server[0].memory_info().rss)


class OwnSequences:
    """The step in this process, given requests of many sequences in batches as large as Triton's.

    Args:
        step: its `TritonPythonModel`.
        requests: of a sequence, in order; the first begins it.
        count: sequences.
        max_batch_size: of the step.
    """

    def __init__(self, step: Any, requests: Sequence[Tensors], count: int, max_batch_size: int) -> None:
        self._step, self._loop = step, asyncio.new_event_loop()
        numbers = range(1, count + 1)
        self._groups = [numbers[at : at + max_batch_size] for at in range(0, count, max_batch_size)]
        self._rounds = cycle([(inputs, not place) for place, inputs in enumerate(requests)])

    def rate(self, seconds: float) -> float:
        """Requests a second, once all sequences are under way."""
        self._round(first=True)
        asked, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            asked += self._round()
        return asked / (time.perf_counter() - start)

    def _round(self, *, first: bool = False) -> int:
        """A request of every sequence."""
        inputs, begins = next(self._rounds)
        while first and not begins:
            inputs, begins = next(self._rounds)
        for group in self._groups:
            self._ask([Request({**inputs, **_controls(number, begins)}) for number in group])
        return sum(map(len, self._groups))

    def _ask(self, requests: list[Request]) -> None:
        responses = self._step.execute(requests)
        if inspect.isawaitable(responses):
            responses = self._loop.run_until_complete(responses)
        if failed := [response.error.message for response in responses if response.error]:
            raise ServerError(f"the step refuses what it is asked in process: {failed[0]}")


def _controls(number: int, begins: bool) -> Tensors:
    """As Triton gives them to the step."""
    return {
        "START": np.array([[begins]], np.int32),
        "END": np.zeros((1, 1), np.int32),
        "CORRID": np.array([[number]], np.uint64),
    }


@dataclass(frozen=True)
class Row:
    """What was measured with a number of live sequences.

    Attributes:
        sequences: how many.
        throughput: requests a second.
        p50_ms: of a request.
        p99_ms: likewise.
        ratio: of the throughput to that in process in the same round.
        step_mib: what the step's process holds, while all are live.
        server_mib: what Triton holds.
    """

    sequences: int
    throughput: Interval
    p50_ms: float
    p99_ms: float
    ratio: Interval
    step_mib: float
    server_mib: float


def row(sequences: int, rounds: Sequence[Round], own: Sequence[float], held: Memory) -> Row:
    """The figures of all rounds."""
    latencies = [latency for each in rounds for latency in each.latencies_s]
    p50, p99 = (1000 * float(value) for value in np.percentile(latencies, (50, 99)))
    return Row(
        sequences,
        mean_interval([each.throughput for each in rounds]),
        p50,
        p99,
        ratio_interval([each.throughput / rate for each, rate in zip(rounds, own, strict=True)]),
        held.step / 2**20,
        held.server / 2**20,
    )


def table(rows: Sequence[Row], idle: Memory) -> str:
    """As people read it."""
    measured = f"{'requests/s':30}{'p50 ms':>8}{'p99 ms':>8}  {'served / in process':24}"
    head = f"{'sequences':>9}  {measured}{'step':>10}{'Triton':>10}"
    none = f"{0:9}  {'':30}{'':16}  {'':24}{idle.step / 2**20:6.0f} MiB{idle.server / 2**20:6.0f} MiB"
    return "\n".join([head, none, *(_line(each) for each in rows)])


def _line(found: Row) -> str:
    return (
        f"{found.sequences:9}  {found.throughput!s:30}{found.p50_ms:8.1f}{found.p99_ms:8.1f}  {found.ratio!s:24}"
        f"{found.step_mib:6.0f} MiB{found.server_mib:6.0f} MiB"
    )
