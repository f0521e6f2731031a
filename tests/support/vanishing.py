"""A server that is killed, and clients whose process is: what tests of streams do to both, and what is left."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psutil

from modelyard_client import Client
from modelyard_client.errors import ClientError
from modelyard_server.process import TritonServer

# Opens a stream for each request on one connection, says when each has begun, and takes them until it is killed.
MANY = """
import asyncio, json, sys
import numpy as np
from modelyard_client import AsyncClient

async def take(client, model, request):
    ranks = {each.name: len(each.shape) for each in (await client.metadata(model)).inputs}
    inputs = {
        name: np.array(value.encode("latin-1") if isinstance(value, str) else value, ndmin=ranks[name])
        for name, value in request.items()
    }
    has_begun = False
    async for result in client.stream(model, inputs):
        if not has_begun:
            print("begun", flush=True)
        has_begun = True

async def main():
    model, requests = sys.argv[2], json.load(sys.stdin)
    async with AsyncClient(sys.argv[1], deadline=600) as client:
        await asyncio.gather(*(take(client, model, request) for request in requests))

asyncio.run(main())
"""
# Of one core: a process that waits, and is asked now and then.
IDLE = 0.2


@contextmanager
def doomed_clients(
    url: str, model: str, requests: Sequence[dict[str, Any]], begun: int | None = None
) -> Iterator[None]:
    """A process in which requests are being answered; killed at the end.

    Args:
        url: the server's, for gRPC.
        model: that answers with long streams.
        requests: inputs by name, each a text (bytes as latin-1), a number or a bool: a tensor of one element.
        begun: so many of them have had their first response when the process is killed; None: all.
    """
    line = [sys.executable, "-c", MANY, url, model]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(requests).encode())
        process.stdin.close()
        for _ in requests[:begun]:
            assert process.stdout.readline() == b"begun\n"
        try:
            yield
        finally:
            assert process.poll() is None, "the streams ended before their clients did"
            process.kill()


def processes(server: TritonServer) -> list[psutil.Process]:
    """Triton and the processes of its models."""
    return psutil.Process(server.state.pid).children(recursive=True)


def memory(server: TritonServer) -> float:
    """MiB of them all."""
    return float(sum(process.memory_info().rss for process in processes(server))) / 2**20


def levels_off(server: TritonServer, wave: Callable[[], None], most: float) -> bool:
    """Whether memory stops growing, though clients come and go: two waves in a row bring less than so much together.

    What an allocator took for the first waves stays taken, how much of it is a matter of chance; what is not given
    back grows with each wave, without end.

    Args:
        server: is measured with the processes of its models.
        wave: clients that are gone, and of whom nothing is being worked at, when it returns.
        most: MiB, less than two waves would leave.
    """
    sizes: list[float] = []
    for _ in range(12):
        wave()
        sizes.append(memory(server))
        if len(sizes) > 2 and sizes[-1] - sizes[-3] < most:
            return True
    print(f"MiB after each wave: {' '.join(f'{size:.0f}' for size in sizes)}")
    return False


def work(server: TritonServer) -> float:
    """Cores that they use now, all together."""

    def seconds() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes(server))

    before, start = seconds(), time.monotonic()
    time.sleep(0.5)
    return (seconds() - before) / (time.monotonic() - start)


def pending(server: TritonServer) -> float:
    """Requests that Triton waits for."""
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counts = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("nv_inference_pending_request_count{")]
    return sum(map(float, counts))


def killed_in_mid_stream(server: TritonServer, stream: Callable[[Client], Any]) -> tuple[ClientError, int]:
    """What a client is told when Triton is killed (kill -9) in the middle of its stream.

    Afterwards nothing of the server is left, and it is started anew on the same ports.

    Args:
        server: is killed after two responses.
        stream: a generator of responses that would come for a good while.

    Returns:
        The error, and how many responses had come.
    """
    tritons = psutil.Process(server.state.pid).children()
    before, came = processes(server), 0
    with Client(f"grpc://{server.grpc_url}", deadline=60) as client, closing(stream(client)) as responses:
        try:
            for _ in responses:
                came += 1
                if came == 2:
                    for triton in tritons:
                        triton.kill()
            raise AssertionError(f"the stream ended by itself, after {came} responses")
        except ClientError as error:
            told = error
    _, alive = psutil.wait_procs(before, timeout=20)
    assert not alive
    server.stop()
    server.start()
    server.wait_ready()
    return told, came
