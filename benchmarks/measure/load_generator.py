"""A closed-loop client in a process of its own, which costs the cores little: requests are sent as stored bytes.

Each line on its input orders a round, see `Order`; each line of its output tells about it, see `Round`. Answers are
received whole and not read, apart from an HTTP answer's status and length.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path

METHOD = "/inference.GRPCInferenceService/ModelInfer"
END_OF_HEAD = b"\r\n\r\n"

Call = Callable[[bytes], Awaitable[object]]
Connect = Callable[[], Awaitable[Call]]


@dataclass(frozen=True)
class Order:
    """A round that is asked for.

    Attributes:
        protocol: grpc, where all loops share a channel, or http, where each has a connection of its own.
        url: host:port.
        requests: files, each with one request as it is sent: a ModelInferRequest, or an HTTP request with its head.
            They are sent in turns.
        concurrency: requests kept under way.
        seconds: how long.
        rate: requests a second, sent when they are due (a Poisson process, always the same one) whatever is under way,
            with gRPC alone; 0: `concurrency` decides.
        endings: hexadecimal, one for each loop: bytes that are added to all of its requests. Two protocol buffers in a
            row are one message: so each loop has a sequence of its own. It then begins with the first request.
    """

    protocol: str
    url: str
    requests: list[str]
    concurrency: int
    seconds: float
    rate: float = 0.0
    endings: Sequence[str] = ()


@dataclass(frozen=True)
class Round:
    """What a round of load was like.

    Attributes:
        throughput: Requests a second in the steady state.
        latencies_s: Of every answer in the steady state, in seconds.
        requests: All that were answered.
        seconds: The whole round's length.
        cpu_seconds: What this process used of the cores meanwhile.
    """

    throughput: float
    latencies_s: list[float]
    requests: int
    seconds: float
    cpu_seconds: float

    @property
    def latency_s(self) -> float:
        """The median."""
        return statistics.median(self.latencies_s)


def steady_throughput(loops: Sequence[Sequence[float]]) -> float:
    """Requests a second: each loop's cycles over the time from its first to its last answer, summed.

    Whole cycles only, so that the size of the server's batches does not quantise the figure.

    Args:
        loops: For each of the concurrent loops the times of its start and of its answers, in seconds.
    """
    return sum((len(times) - 2) / (times[-1] - times[1]) for times in loops)


async def closed_loop(call: Call, requests: Sequence[bytes], until: float) -> list[float]:
    """Sends one request after the other, in turns; returns the times of the start and of every answer."""
    times = [time.perf_counter()]
    for request in cycle(requests):
        await call(request)
        times.append(time.perf_counter())
        if times[-1] >= until and len(times) >= 3:
            break
    return times


def due_times(rate: float, seconds: float) -> list[float]:
    """When requests come that know nothing of one another: seconds from the start, at least two of them."""
    gaps = random.Random(0)  # noqa: S311  # nothing is secret here
    times: list[float] = []
    while len(times) < 2 or times[-1] < seconds:
        times.append((times[-1] if times else 0.0) + gaps.expovariate(rate))
    return times


async def play_open(call: Call, requests: Sequence[bytes], rate: float, seconds: float) -> Round:
    """One round in which requests are sent when they are due; latencies count from then on."""
    cpu, start = time.process_time(), time.perf_counter()

    async def one(due: float, request: bytes) -> float:
        await asyncio.sleep(start + due - time.perf_counter())
        await call(request)
        return time.perf_counter() - start - due

    latencies = await asyncio.gather(*map(one, due_times(rate, seconds), cycle(requests)))
    elapsed = time.perf_counter() - start
    return Round(len(latencies) / elapsed, latencies, len(latencies), elapsed, time.process_time() - cpu)


async def play(connect: Connect, turns: Sequence[Sequence[bytes]], seconds: float) -> Round:
    """One round of as many loops as there are turns."""
    calls = [await connect() for _ in turns]
    cpu, start = time.process_time(), time.perf_counter()
    loops = await asyncio.gather(
        *(closed_loop(call, turn, start + seconds) for call, turn in zip(calls, turns, strict=True))
    )
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Round(
        throughput=steady_throughput(loops),
        latencies_s=[end - begin for times in loops for begin, end in pairwise(times[1:])],
        requests=sum(len(times) - 1 for times in loops),
        seconds=elapsed,
        cpu_seconds=cpu,
    )


class HttpConnection(asyncio.Protocol):
    """One kept-alive connection of HTTP/1.1, one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._missing = 0
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps what requests are written to."""
        assert isinstance(transport, asyncio.Transport)  # of TCP
        self._transport = transport

    async def call(self, request: bytes) -> bytes:
        """Sends one request, head included; returns the answer's body.

        Raises:
            RuntimeError: the answer's status is not 200, or the server hung up.
        """
        self._received.clear()
        self._missing = 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Collects an answer; complete when the announced length is there."""
        self._received += data
        if not self._missing and (end := self._received.find(END_OF_HEAD)) >= 0:
            self._missing = end + len(END_OF_HEAD) + content_length(bytes(self._received[:end]))
        if self._missing and len(self._received) >= self._missing:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        """A server that hangs up has failed the request that is under way."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(RuntimeError(f"the server closed the connection: {error or 'no reason given'}"))

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()

    def _finish(self) -> None:
        if self._answer is None or self._answer.done():
            return
        head, _, body = bytes(self._received).partition(END_OF_HEAD)
        if head.split(b" ", 2)[1] != b"200":
            self._answer.set_exception(RuntimeError(f"expected 200, got {head.splitlines()[0]!r}: {body[:500]!r}"))
        else:
            self._answer.set_result(body)


def content_length(head: bytes) -> int:
    """The announced length of an answer's body.

    Raises:
        ValueError: none is announced; the servers that are measured here all do.
    """
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"an answer without a Content-Length: {head!r}")


def turns_of(order: Order, requests: Sequence[bytes]) -> list[list[bytes]]:
    """What each loop sends; without endings each begins with another request."""
    if order.endings:
        return [[request + bytes.fromhex(ending) for request in requests] for ending in order.endings]
    return [[*islice(cycle(requests), start, start + len(requests))] for start in range(order.concurrency)]


async def play_http(order: Order, requests: Sequence[bytes]) -> Round:
    """A round over HTTP, with a connection for each loop."""
    host, _, port = order.url.rpartition(":")
    connections: list[HttpConnection] = []

    async def connect() -> Call:
        _, connection = await asyncio.get_running_loop().create_connection(HttpConnection, host, int(port))
        connections.append(connection)
        return connection.call

    try:
        return await play(connect, turns_of(order, requests), order.seconds)
    finally:
        for connection in connections:
            connection.close()


async def play_grpc(order: Order, requests: Sequence[bytes]) -> Round:
    """A round over gRPC, with one channel for all loops."""
    import grpc

    async with grpc.aio.insecure_channel(order.url) as channel:
        call: Call = channel.unary_unary(METHOD)

        async def connect() -> Call:
            return call

        if order.rate:
            return await play_open(call, requests, order.rate, order.seconds)
        return await play(connect, turns_of(order, requests), order.seconds)


PROTOCOLS = {"grpc": play_grpc, "http": play_http}


async def serve_orders() -> None:
    """Plays the rounds that are ordered, until the input ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = Order(**json.loads(line))
        played = await PROTOCOLS[order.protocol](order, [Path(file).read_bytes() for file in order.requests])
        print(json.dumps(asdict(played)), flush=True)


if __name__ == "__main__":
    asyncio.run(serve_orders())
