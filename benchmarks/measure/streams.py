"""Streams of responses under load: how long the first one takes, and how fast the others follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from measure.intervals import Interval, mean_interval, ratio_interval
from measure.rounds import rotated
from measure.served import Tensors
from modelyard_build.model import Array
from modelyard_client import Client
from modelyard_server.errors import ServerError


@dataclass(frozen=True)
class Stream:
    """One request that was answered.

    Attributes:
        started: when it was sent, in seconds of `time.perf_counter`.
        arrivals: when each response came, likewise; at least two.
        counts: how many items each of them brought.
    """

    started: float
    arrivals: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def first_s(self) -> float:
        """Until the first response."""
        return self.arrivals[0] - self.started

    @property
    def rate(self) -> float:
        """Items a second after the first response."""
        return sum(self.counts[1:]) / (self.arrivals[-1] - self.arrivals[0])


@dataclass(frozen=True)
class Play:
    """Streams of several clients that began together.

    Attributes:
        streams: one of each client.
    """

    streams: tuple[Stream, ...]

    @property
    def throughput(self) -> float:
        """Items a second of all of them, from the first request to the last response."""
        began = min(stream.started for stream in self.streams)
        ended = max(stream.arrivals[-1] for stream in self.streams)
        return sum(sum(stream.counts) for stream in self.streams) / (ended - began)


def play(
    url: str, model: str, requests: Sequence[Tensors], count: Callable[[Mapping[str, Array]], int], deadline: float
) -> Play:
    """Sends each request from a client of its own, all at once, and reads the streams to their ends.

    Args:
        url: the server's, "grpc://host:port".
        model: a decoupled model.
        requests: one a client.
        count: how many items a response holds.
        deadline: seconds for each stream.

    Raises:
        ServerError: a stream has a single response.
    """

    def read(request: Tensors) -> Stream:
        with Client(url, deadline=deadline) as client:
            # What a client learns of a model before its first request is no part of the time to the first response.
            client.metadata(model)
            started = time.perf_counter()
            came = [(time.perf_counter(), count(response)) for response in client.stream(model, request)]
        if len(came) < 2:
            raise ServerError(f"{model} answered with {len(came)} responses; a rate takes two. Ask for more (--size).")
        return Stream(started, tuple(when for when, _ in came), tuple(items for _, items in came))

    with ThreadPoolExecutor(len(requests)) as threads:
        return Play(tuple(threads.map(read, requests)))


@dataclass(frozen=True)
class Turn:
    """The same requests served and in process, one after the other.

    Attributes:
        served: the streams.
        own: items a second in process.
    """

    served: Play
    own: float


def turns(
    clients: Sequence[int],
    asked: Callable[[int], Sequence[Tensors]],
    served: Callable[[Sequence[Tensors]], Play],
    own: Callable[[Sequence[Tensors]], float],
    count: int,
) -> list[list[Turn]]:
    """Plays every number of clients in turn, each round beginning with another; the first round warms up.

    Args:
        clients: the numbers.
        asked: new requests, of so many clients.
        served: what comes of requests that are served.
        own: what comes of them in process. Every other round begins with it.
        count: the rounds that count.

    Returns:
        For each number of clients a turn a round.
    """
    found: list[list[Turn]] = [[] for _ in clients]
    for number in range(count + 1):
        for place in rotated(range(len(clients)), number):
            requests = asked(clients[place])
            before = own(requests) if number % 2 else None
            play_ = served(requests)
            found[place].append(Turn(play_, own(requests) if before is None else before))
    return [each[1:] for each in found]


@dataclass(frozen=True)
class Row:
    """What was measured with a number of clients.

    Attributes:
        clients: how many.
        first_p50_s: the time to the first response: the median of all streams.
        first_max_s: the longest.
        rate: items a second of one stream after its first response.
        throughput: items a second of all streams together.
        ratio: of that to the throughput in process in the same round.
    """

    clients: int
    first_p50_s: float
    first_max_s: float
    rate: Interval
    throughput: Interval
    ratio: Interval


def row(found: Sequence[Turn]) -> Row:
    """The figures of all rounds of the same number of clients."""
    plays = [turn.served for turn in found]
    firsts = [stream.first_s for each in plays for stream in each.streams]
    return Row(
        clients=len(plays[0].streams),
        first_p50_s=float(np.median(firsts)),
        first_max_s=max(firsts),
        rate=mean_interval([float(np.mean([stream.rate for stream in each.streams])) for each in plays]),
        throughput=mean_interval([each.throughput for each in plays]),
        ratio=ratio_interval([turn.served.throughput / turn.own for turn in found]),
    )


def table(rows: Sequence[Row], items: str) -> str:
    """As people read it."""
    head = (
        f"{'clients':>7}{'first p50':>11}{'longest':>9}  {f'a stream, {items}/s':30}{'together':30}served / in process"
    )
    return "\n".join([head, *(_line(each) for each in rows)])


def _line(found: Row) -> str:
    return (
        f"{found.clients:7}{found.first_p50_s:9.3f} s{found.first_max_s:7.2f} s  {found.rate!s:30}"
        f"{found.throughput!s:30}{found.ratio}"
    )
