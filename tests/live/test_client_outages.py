"""Servers that are killed, started anew or changed while clients call them."""

from __future__ import annotations

import dataclasses
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest

from modelyard_client import Client, RetryPolicy
from modelyard_client.errors import ClientError, ConnectionLost, InvalidInput, ServerUnavailable
from modelyard_client.regions import DIRECTORY, PREFIX
from modelyard_server.process import TritonServer
from support.client_models import write_client_models, write_model
from support.clients import KINDS, Kind, open_client, url_of
from support.triton import options_on_free_ports

pytestmark = pytest.mark.live

LONG, SHORT = np.full((1, 1), 30.0, np.float32), np.full((1, 1), 0.01, np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Just the model that takes its time."""
    return write_client_models(tmp_path_factory.mktemp("outages"), "slow")


@pytest.fixture
def server(repository: Path) -> Iterator[TritonServer]:
    """A server that a test may kill."""
    # Triton waits so long for idle HTTP connections to be closed by their clients when it is told to stop.
    options = dataclasses.replace(options_on_free_ports(repository), exit_timeout_s=3)
    with TritonServer(options) as started:
        yield started


def kill(server: TritonServer) -> None:
    """Kill -9 of tritonserver itself."""
    for process in psutil.Process(server.state.pid).children():
        process.kill()
        process.wait()


def test_server_killed_in_mid_request_is_a_lost_connection(server: TritonServer) -> None:
    """All four clients wait for an answer when the server is killed; each ends at once, with what it knows."""
    errors: dict[Kind, ClientError] = {}

    def call(kind: Kind) -> None:
        with open_client(kind, url_of(server, kind), deadline=25) as client:
            try:
                client.infer("slow", {"seconds": LONG}, request_id=kind)
            except ClientError as error:
                errors[kind] = error

    threads = [threading.Thread(target=call, args=(kind,)) for kind in KINDS]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    kill(server)
    for thread in threads:
        thread.join(timeout=20)
    assert {kind: type(error) for kind, error in errors.items()} == dict.fromkeys(KINDS, ConnectionLost)
    for kind, error in errors.items():
        assert "whether it ran is unknown" in str(error)
        assert (error.model, error.request_id) == ("slow", kind)


def serving(client: Client) -> int:
    """Which server answers."""
    return int(client.infer("slow", {"seconds": SHORT})["server"][0, 0])


def test_other_server_takes_over(repository: Path, server: TritonServer) -> None:
    """Of two servers one is killed: no call fails, and all go to the other."""
    with TritonServer(options_on_free_ports(repository)) as other, ExitStack() as stack:
        clients = [
            stack.enter_context(open_client(kind, [url_of(server, kind), url_of(other, kind)], deadline=20))
            for kind in KINDS
        ]
        before = [{serving(client) for _ in range(4)} for client in clients]
        kill(server)
        after = [{serving(client) for _ in range(10)} for client in clients]
    assert [len(servers) for servers in before] == [2] * 4
    assert [len(servers) for servers in after] == [1] * 4


def test_client_finds_a_restarted_server_again(server: TritonServer) -> None:
    """The same ports, a new process: the next call connects anew, though its connections are all dead."""
    with ExitStack() as stack:
        clients = [stack.enter_context(open_client(kind, url_of(server, kind), deadline=20)) for kind in KINDS]
        first = {serving(client) for client in clients}
        kill(server)
        server.stop()
        server.start()
        server.wait_ready()
        second = {serving(client) for client in clients}
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_region_outlives_its_server(server: TritonServer, kind: Kind) -> None:
    """Without a server the call fails; a new one, which knows nothing of the region, maps it within the next call."""
    with Client(url_of(server, kind), deadline=20) as client:
        with client.shared_memory("slow", {"seconds": (1, 1)}) as memory:
            first = int(memory.infer()["server"][0, 0])
            kill(server)
            server.stop()
            assert not client.server_live()
            with pytest.raises(ServerUnavailable, match="cannot connect"):
                memory.infer(deadline=1)
            server.start()
            server.wait_ready()
            assert int(memory.infer()["server"][0, 0]) != first
            kill(server)
        assert list(DIRECTORY.glob(f"{PREFIX}*")) == []


def test_drained_server_hands_over(repository: Path, server: TritonServer) -> None:
    """A rolling restart, blocking and async clients calling all the time over both protocols: no call fails."""
    failures: list[ClientError] = []
    done = threading.Event()

    def call(kind: Kind, urls: list[str]) -> None:
        with open_client(kind, urls, deadline=20, retry=RetryPolicy(attempts=20, max_backoff=0.2)) as client:
            while not done.is_set():
                try:
                    client.infer("slow", {"seconds": SHORT})
                except ClientError as error:
                    failures.append(error)

    with TritonServer(options_on_free_ports(repository)) as other:
        threads = [
            threading.Thread(target=call, args=(kind, [url_of(server, kind), url_of(other, kind)])) for kind in KINDS
        ]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        server.stop()
        time.sleep(1.0)
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []


SHAPES_CONFIG = """
    backend: "python"
    max_batch_size: {batch}
    input {{ name: "{name}" data_type: TYPE_FP32 dims: [ 2 ] }}
    output {{ name: "y" data_type: TYPE_FP32 dims: [ 2 ] }}
"""
SHAPES_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            return [respond(pb_utils.Tensor("y", request.inputs()[0].as_numpy())) for request in requests]
"""


def test_changed_model_is_read_again(tmp_path: Path) -> None:
    """What a client remembers of a model may be old: the server's word counts, for what fits now and what no more."""
    write_model(tmp_path, "shapes", SHAPES_CONFIG.format(batch=1, name="x"), SHAPES_MODEL)
    with TritonServer(options_on_free_ports(tmp_path)) as server:
        clients = [Client(url_of(server, kind)) for kind in ("grpc", "http")]
        for client in clients:
            assert client.infer("shapes", {"x": np.ones((1, 2), np.float32)})["y"].shape == (1, 2)
        write_model(tmp_path, "shapes", SHAPES_CONFIG.format(batch=4, name="z"), SHAPES_MODEL)
        load = urllib.request.Request(f"http://{server.http_url}/v2/repository/models/shapes/load", method="POST")
        urllib.request.urlopen(load).close()  # noqa: S310 - loopback
        for client in clients:
            with pytest.raises(InvalidInput, match=r"no input 'x': .*It has z"):
                client.infer("shapes", {"x": np.ones((1, 2), np.float32)})
            assert client.infer("shapes", {"z": np.ones((3, 2), np.float32)})["y"].shape == (3, 2)
            client.close()
