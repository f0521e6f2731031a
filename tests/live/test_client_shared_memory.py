"""Tensors in system shared memory: the same results as over the network, and nothing left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from modelyard_client import AsyncClient, Client, RetryPolicy
from modelyard_client.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    SharedMemoryFailed,
)
from modelyard_client.regions import DIRECTORY, PREFIX
from modelyard_server.process import TritonServer
from support.client_models import DATATYPES, samples
from support.clients import Kind, url_of

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test ends with no region of ours in /dev/shm."""
    yield
    assert ours() == []


@pytest.fixture(scope="module", params=["grpc", "http"])
def client(client_triton: TritonServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A blocking client over either protocol."""
    with Client(url_of(client_triton, request.param), deadline=30, retry=RetryPolicy(attempts=1)) as opened:
        yield opened


def wait_until(happens: Callable[[], bool]) -> None:
    """Polls, for ten seconds at most."""
    end = time.monotonic() + 10
    while not happens() and time.monotonic() < end:
        time.sleep(0.01)


def ours() -> list[str]:
    """The regions of clients that exist now."""
    return [path.name for path in DIRECTORY.glob(f"{PREFIX}*")]


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BYTES"])
def test_equals_the_network(client: Client, datatype: str) -> None:
    """Every datatype of a fixed size, bit for bit."""
    values = samples(datatype)
    over_network = client.infer("types", {f"{datatype}_in": values}, outputs=[datatype])[datatype]
    with client.shared_memory("types", {f"{datatype}_in": (2, 3)}, {datatype: (2, 3)}) as memory:
        memory[f"{datatype}_in"][...] = values
        shared = memory.infer()[datatype]
        assert shared.dtype == over_network.dtype
        np.testing.assert_array_equal(shared, over_network)


def test_region_is_used_again_and_again(client: Client) -> None:
    """Written in place, read in place: each request sees what stands there now."""
    with client.shared_memory("add", {"a": (2, 4), "b": (2, 4)}) as memory:
        memory["b"][...] = 1
        for number in range(5):
            memory["a"][...] = number
            result = memory.infer()
            assert result["sum"].tolist() == [[number + 1] * 4] * 2
            assert result["difference"].tolist() == [[number - 1] * 4] * 2
        assert len(ours()) == 1


def test_some_tensors_share_and_others_travel(client: Client) -> None:
    """Inputs and outputs are mixed freely; the travelling output is not taken for the shared one."""
    with client.shared_memory("add", {"a": (1, 4)}, {"difference": (1, 4)}) as memory:
        memory["a"][...] = [[1, 2, 3, 4]]
        result = memory.infer({"b": np.ones((1, 4), np.float32)}, outputs=["sum", "difference"])
        assert result["sum"].tolist() == [[2, 3, 4, 5]]
        assert result["difference"].tolist() == [[0, 1, 2, 3]]


def test_output_smaller_than_its_room_has_its_own_shape(client: Client) -> None:
    """Room is made for the largest answer that can come."""
    with client.shared_memory("types", {"FP32_in": (2, 3)}, {"FP32": (100, 100)}) as memory:
        memory["FP32_in"][...] = 5
        assert memory.infer()["FP32"].tolist() == [[5, 5, 5], [5, 5, 5]]


def test_output_larger_than_its_room_is_an_error(client: Client) -> None:
    """The server writes nothing beyond the room."""
    with (
        client.shared_memory("types", {"FP32_in": (2, 3)}, {"FP32": (1, 1)}) as memory,
        pytest.raises(InferenceFailed, match="should be at least 24 bytes"),
    ):
        memory.infer()


def test_strings_do_not_share(client: Client) -> None:
    """The size of BYTES is not known beforehand."""
    with pytest.raises(InvalidInput, match="leave it to the network"):
        client.shared_memory("types", {"BYTES_in": (2, 3)}).__enter__()


def test_results_outlive_the_region(client: Client) -> None:
    """Arrays that are still held stay readable when the names are gone: no crash, no warning."""
    with client.shared_memory("add", {"a": (1, 4), "b": (1, 4)}) as memory:
        a = memory["a"]
        a[...] = 3
        result = memory.infer()
    assert result["sum"].tolist() == [[3, 3, 3, 3]]
    assert a.tolist() == [[3, 3, 3, 3]]


def test_released_after_an_error_inside(client: Client) -> None:
    """The region goes however the `with` ends."""

    def fail_inside() -> None:
        with client.shared_memory("add", {"a": (1, 4), "b": (1, 4)}) as memory:
            memory.infer()
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail_inside()


def test_request_that_was_given_up_spoils_its_region(client: Client) -> None:
    """The server may still write into it: it is not used again, and unmapped as soon as it is free."""
    with client.shared_memory("slow", {"seconds": (1, 1)}) as memory:
        memory["seconds"][...] = 1.0
        with pytest.raises(DeadlineExceeded):
            memory.infer(deadline=0.2)
        with pytest.raises(InvalidInput, match="may still write"):
            memory.infer()
    assert client.operations._mapped != []
    client.infer("slow", {"seconds": np.zeros((1, 1), np.float32)})
    client.run(client.operations.release_regions())
    assert client.operations._mapped == []


def test_one_request_at_a_time(client: Client) -> None:
    """Two threads on one region would read each other's tensors."""
    with client.shared_memory("slow", {"seconds": (1, 1)}) as memory:
        memory["seconds"][...] = 1.0
        first = threading.Thread(target=memory.infer)
        first.start()
        wait_until(memory._in_use.locked)
        with pytest.raises(InvalidInput, match="one for each thread"):
            memory.infer()
        first.join()


def test_other_machine_shares_no_memory() -> None:
    """Found before anything is made or sent."""
    with Client("grpc://192.0.2.1:8001") as client, pytest.raises(InvalidInput, match="not on this machine"):
        client.shared_memory("add", {"a": (1, 4)})


def test_file_that_the_server_cannot_open_is_an_error(client: Client) -> None:
    """As with a container that has its own /dev/shm."""
    with client.shared_memory("add", {"a": (1, 4), "b": (1, 4)}) as memory:
        assert memory._file is not None
        Path(DIRECTORY / memory._file.region.name).unlink()
        with pytest.raises(SharedMemoryFailed, match="--ipc=host"):
            memory.infer()


@pytest.mark.parametrize("kind", ["grpc", "http"])
async def test_async_client_shares_too(client_triton: TritonServer, kind: Kind) -> None:
    """Several sessions at once, each with its own region."""

    async def call(client: AsyncClient, number: int) -> float:
        async with client.shared_memory("add", {"a": (1, 4), "b": (1, 4)}) as memory:
            memory["a"][...] = number
            return float((await memory.infer())["sum"][0, 0])

    async with AsyncClient(url_of(client_triton, kind)) as client:
        assert await asyncio.gather(*(call(client, number) for number in range(6))) == [0, 1, 2, 3, 4, 5]


async def test_cancelled_task_releases_its_region(client_triton: TritonServer) -> None:
    """A task that is cancelled in mid-request leaves nothing behind."""

    async def call(client: AsyncClient) -> None:
        async with client.shared_memory("slow", {"seconds": (1, 1)}) as memory:
            memory["seconds"][...] = 1.0
            await memory.infer()

    async with AsyncClient(url_of(client_triton, "grpc")) as client:
        task = asyncio.create_task(call(client))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ours() == []
        await client.infer("slow", {"seconds": np.zeros((1, 1), np.float32)})
