"""Streams of responses under load: how long the first one takes, and how fast the others follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from measure.intervals import Interval, mean_interval, ratio_interval
from measure.served import Tensors
from modelyard_client import Client


@dataclass(frozen=True)
class Stream:
    """One request that was answered.

    Attributes:
        started: when it was sent, in seconds of `time.perf_counter`.
        arrivals: when each response came, likewise; at least one.
    """

    started: float
    arrivals: tuple[float, ...]

    @property
    def first_s(self) -> float:
        """Until the first response."""
        return self.arrivals[0] - self.started

    @property
    def rate(self) -> float:
        """Responses a second after the first; at least two."""
        return (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])


@dataclass(frozen=True)
class Play:
    """Streams of several clients that began together.

    Attributes:
        streams: one of each client.
    """

    streams: tuple[Stream, ...]

    @property
    def throughput(self) -> float:
        """Responses a second of all of them, from the first request to the last response."""
        began = min(stream.started for stream in self.streams)
        ended = max(stream.arrivals[-1] for stream in self.streams)
        return sum(len(stream.arrivals) for stream in self.streams) / (ended - began)


def play(url: str, model: str, requests: Sequence[Tensors], deadline: float) -> Play:
    """Sends each request from a client of its own, all at once, and reads the streams to their ends.

    Args:
        url: the server's, "grpc://host:port".
        model: a decoupled model.
        requests: one a client.
        deadline: seconds for each stream.
    """
    with ThreadPoolExecutor(len(requests)) as threads:
        return Play(tuple(threads.map(lambda request: _read(url, model, request, deadline), requests)))


def _read(url: str, model: str, request: Tensors, deadline: float) -> Stream:
    with Client(url, deadline=deadline) as client:
        # What a client learns of a model before its first request is no part of the time to the first response.
        client.metadata(model)
        started = time.perf_counter()
        return Stream(started, tuple(time.perf_counter() for _ in client.stream(model, request)))


@dataclass(frozen=True)
class Row:
    """What was measured with a number of clients.

    Attributes:
        clients: how many.
        first_p50_s: the time to the first response: the median of all streams.
        first_max_s: the longest.
        rate: responses a second of one stream after its first.
        throughput: responses a second of all streams together.
        ratio: of that to the throughput in process in the same round.
    """

    clients: int
    first_p50_s: float
    first_max_s: float
    rate: Interval
    throughput: Interval
    ratio: Interval


def row(plays: Sequence[Play], own: Sequence[float]) -> Row:
    """The figures of all rounds.

    Args:
        plays: one a round, of the same number of clients.
        own: the throughput in process in each round.
    """
    firsts = [stream.first_s for each in plays for stream in each.streams]
    return Row(
        clients=len(plays[0].streams),
        first_p50_s=float(np.median(firsts)),
        first_max_s=max(firsts),
        rate=mean_interval([float(np.mean([stream.rate for stream in each.streams])) for each in plays]),
        throughput=mean_interval([each.throughput for each in plays]),
        ratio=ratio_interval([each.throughput / rate for each, rate in zip(plays, own, strict=True)]),
    )


def rounds(
    parts: Sequence[Callable[[], Play]], own: Callable[[], float], count: int
) -> tuple[list[list[Play]], list[float]]:
    """Plays every part and the run in process in turn, each round beginning with another; the first round warms up.

    Returns:
        For each part its plays, and the throughputs in process, a round each.
    """
    plays: list[list[Play]] = [[] for _ in parts]
    rates: list[float] = []
    for number in range(count + 1):
        for position in range(len(parts) + 1):
            turn = (position + number) % (len(parts) + 1)
            if turn == len(parts):
                rates.append(own())
            else:
                plays[turn].append(parts[turn]())
    return [found[1:] for found in plays], rates[1:]


def table(rows: Sequence[Row]) -> str:
    """As people read it."""
    head = f"{'clients':>7}{'first p50':>11}{'longest':>9}  {'a stream, /s':24}{'together, /s':24}served / in process"
    return "\n".join([head, *(_line(each) for each in rows)])


def _line(found: Row) -> str:
    return (
        f"{found.clients:7}{found.first_p50_s:9.2f} s{found.first_max_s:7.2f} s  {found.rate!s:24}"
        f"{found.throughput!s:24}{found.ratio}"
    )
