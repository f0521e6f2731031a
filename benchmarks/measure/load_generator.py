"""A closed-loop gRPC client in a process of its own, which costs the cores little: requests are sent as stored bytes.

Run as ``python load_generator.py HOST:PORT``. Each line on its input orders a round, a JSON object with `request` (a
file that holds one serialised ModelInferRequest), `concurrency` and `seconds`; each line of its output tells about it,
see `Round`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import grpc

METHOD = "/inference.GRPCInferenceService/ModelInfer"

Call = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True)
class Round:
    """What a round of load was like.

    Attributes:
        throughput: Requests a second in the steady state.
        latency_s: The median, in seconds.
        requests: All that were answered.
        seconds: The whole round's length.
        cpu_seconds: What this process used of the cores meanwhile.
    """

    throughput: float
    latency_s: float
    requests: int
    seconds: float
    cpu_seconds: float


def steady_throughput(loops: Sequence[Sequence[float]]) -> float:
    """Requests a second: each loop's cycles over the time from its first to its last answer, summed.

    Whole cycles only, so that the size of the server's batches does not quantise the figure.

    Args:
        loops: For each of the concurrent loops the times of its start and of its answers, in seconds.
    """
    return sum((len(times) - 2) / (times[-1] - times[1]) for times in loops)


async def closed_loop(call: Call, request: bytes, until: float) -> list[float]:
    """Sends one request after the other; returns the times of the start and of every answer."""
    times = [time.perf_counter()]
    while times[-1] < until or len(times) < 3:
        await call(request)
        times.append(time.perf_counter())
    return times


async def play(call: Call, request: bytes, concurrency: int, seconds: float) -> Round:
    """One round."""
    cpu, start = time.process_time(), time.perf_counter()
    loops = await asyncio.gather(*(closed_loop(call, request, start + seconds) for _ in range(concurrency)))
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    latencies = [end - begin for times in loops for begin, end in pairwise(times[1:])]
    return Round(
        throughput=steady_throughput(loops),
        latency_s=statistics.median(latencies),
        requests=sum(len(times) - 1 for times in loops),
        seconds=elapsed,
        cpu_seconds=cpu,
    )


async def serve_orders(url: str) -> None:
    """Plays the rounds that are ordered, until the input ends."""
    async with grpc.aio.insecure_channel(url) as channel:
        call = channel.unary_unary(METHOD)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            request = Path(order["request"]).read_bytes()
            played = await play(call, request, order["concurrency"], order["seconds"])
            print(json.dumps(asdict(played)), flush=True)


if __name__ == "__main__":
    asyncio.run(serve_orders(sys.argv[1]))
