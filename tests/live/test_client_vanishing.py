"""Servers that go away in mid-stream and mid-sequence, and clients that do: clear errors, and no work left behind."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import psutil
import pytest

from modelyard_client import Client
from modelyard_client.errors import ClientError, ConnectionLost, SequenceLost
from modelyard_server.process import TritonServer
from support.client_models import write_client_models
from support.clients import Kind, open_client, url_of
from support.triton import eventually, options_on_free_ports
from support.vanishing import memory

pytestmark = pytest.mark.live

ENDLESS = 1_000_000
# Opens 200 streams on one connection, says when each has begun, and takes them until it is killed.
MANY = """
import asyncio, sys
import numpy as np
from modelyard_client import AsyncClient

async def take(client):
    inputs = {"count": np.array([10**6], np.int32), "bytes": np.array([20_000], np.int32)}
    inputs["pause"] = np.array([0.3], np.float32)
    async for result in client.stream("numbers", inputs):
        if result["number"][0] == 0:
            print("begun", flush=True)

async def main():
    async with AsyncClient(sys.argv[1]) as client:
        await asyncio.gather(*(take(client) for _ in range(200)))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server for all of these tests."""
    repository = write_client_models(tmp_path_factory.mktemp("vanishing"), "numbers", "steps")
    with TritonServer(dataclasses.replace(options_on_free_ports(repository), exit_timeout_s=3)) as server:
        yield server


@pytest.fixture
def server(started: TritonServer) -> TritonServer:
    """The server, which a test may kill; started anew where the one before has."""
    with Client(f"http://{started.http_url}") as client:
        if not client.server_live():
            restart(started)
    return started


def restart(server: TritonServer) -> None:
    """The same ports, a new process."""
    server.stop()
    server.start()
    server.wait_ready()


def kill(server: TritonServer) -> None:
    """Kill -9 of tritonserver itself."""
    for process in psutil.Process(server.state.pid).children():
        process.kill()
        process.wait()


def numbers(count: int, pause: float = 0.0) -> dict[str, Any]:
    """The inputs of `numbers`."""
    return {"count": np.array([count], np.int32), "pause": np.array([pause], np.float32)}


def add(number: int) -> dict[str, Any]:
    """The inputs of `steps`."""
    return {"number": np.array([[number]], np.int32)}


def vanish(server: TritonServer) -> None:
    """200 streams begin, and the process that takes them is killed."""
    with subprocess.Popen([sys.executable, "-c", MANY, url_of(server, "grpc")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(200):
            assert process.stdout.readline() == b"begun\n"
        process.kill()


def test_200_clients_vanish_in_mid_stream(server: TritonServer) -> None:
    """The model learns that nobody wants the rest, others are served, no request is left and no memory grows."""
    with Client(url_of(server, "grpc"), deadline=20) as client:

        def left() -> tuple[int, int]:
            # To its end: Triton 2.51 may crash where a request is cancelled just as it finishes.
            (state,) = client.stream("numbers", numbers(1))
            return int(state["running"][0]) - 1, int(state["cancelled"][0])

        vanish(server)
        assert [int(result["number"][0]) for result in client.stream("numbers", numbers(3))] == [0, 1, 2]
        assert eventually(lambda: left()[0] == 0)
        after_first = memory(server)
        cancelled = left()[1]
        assert cancelled >= 200
        vanish(server)
        assert eventually(lambda: left()[0] == 0)
        assert left()[1] >= cancelled + 200
        # What was waiting to be sent when they vanished, 13 MB a second, is not kept for each wave.
        assert memory(server) - after_first < 20
    pending = urllib.request.urlopen(f"http://{server.metrics_url}/metrics").read().decode()
    assert 'nv_inference_pending_request_count{model="numbers",version="1"} 0' in pending


def load_anew(server: TritonServer) -> None:
    """The model, as after a change of its files."""
    os.utime(server.options.repository / "steps" / "1" / "model.py")
    load = urllib.request.Request(f"http://{server.http_url}/v2/repository/models/steps/load", method="POST")
    urllib.request.urlopen(load).close()  # noqa: S310 - loopback


def kill_and_restart(server: TritonServer) -> None:
    """The whole server."""
    kill(server)
    restart(server)


@pytest.mark.parametrize("how", [load_anew, kill_and_restart])
def test_state_goes_with_the_model(server: TritonServer, how: Callable[[TritonServer], None]) -> None:
    """Each kind of client is told to start again, and what probably happened; and can start again."""
    # An async HTTP client finds that its connection is dead only while its loop runs.
    kinds: tuple[Kind, ...] = ("grpc", "http", "grpc-async")
    with ExitStack() as stack:
        clients = [stack.enter_context(open_client(kind, url_of(server, kind), deadline=20)) for kind in kinds]
        sequences = [stack.enter_context(client.sequence("steps")) for client in clients]
        for sequence in sequences:
            sequence.infer(add(1))
        how(server)
        for client, sequence in zip(clients, sequences, strict=True):
            with pytest.raises(SequenceLost, match=r"loaded anew, or the server was restarted\. Start a new sequence"):
                sequence.infer(add(1))
            with client.sequence("steps") as again:
                assert again.infer(add(5), end=True)["total"] == 5


def test_server_killed_in_mid_stream(server: TritonServer) -> None:
    """Both clients are told at once, with how much had come; the next call finds the server that is started anew."""
    outcomes: dict[Kind, tuple[ClientError, int, float]] = {}
    kinds: tuple[Kind, ...] = ("grpc", "grpc-async")
    begun = threading.Barrier(len(kinds) + 1)

    def take(kind: Kind) -> None:
        with open_client(kind, url_of(server, kind), deadline=25) as client:
            came = 0
            try:
                for _ in client.stream("numbers", numbers(ENDLESS, pause=0.05), request_id=kind):
                    came += 1
                    if came == 3:
                        begun.wait()
            except ClientError as error:
                outcomes[kind] = (error, came, time.monotonic())

    threads = [threading.Thread(target=take, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    begun.wait()
    killed = time.monotonic()
    kill(server)
    for thread in threads:
        thread.join(timeout=20)
    for kind, (error, came, when) in outcomes.items():
        assert type(error) is ConnectionLost
        assert f"{came} responses had come" in str(error)
        assert (error.model, error.request_id) == ("numbers", kind)
        assert when - killed < 5
    assert sorted(outcomes) == sorted(kinds)


def test_server_killed_in_mid_sequence(server: TritonServer) -> None:
    """The step may have counted: the sequence is lost, and says why, though the server may come back."""
    with Client(url_of(server, "grpc"), deadline=20) as client, client.sequence("steps") as sequence:
        sequence.infer(add(1))
        killer = threading.Timer(0.3, kill, (server,))
        killer.start()
        with pytest.raises(ConnectionLost):
            sequence.infer(add(60))
        killer.join()
        with pytest.raises(SequenceLost, match=r"whether its last request ran is unknown \(.*went away"):
            sequence.infer(add(1))
