"""Streams of a decoupled model, blocking and async: what is yielded, what is raised, and what the server is told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from modelyard_client import AsyncClient, Client, Result
from modelyard_client.errors import ClientClosed, DeadlineExceeded, InferenceFailed, InvalidInput, ModelNotFound
from modelyard_server.process import TritonServer
from support.clients import Kind, open_client, url_of
from support.triton import eventually

pytestmark = pytest.mark.live

ENDLESS = 1_000_000


def numbers(count: int, **more: float) -> dict[str, Any]:
    """The inputs of `numbers`."""
    dtypes = {"pause": np.float32}
    inputs = {"count": count, **more}
    return {name: np.array([value], dtypes.get(name, np.int32)) for name, value in inputs.items()}


def values(results: Iterator[Result]) -> list[int]:
    """What they counted."""
    return [int(result["number"][0]) for result in results]


@pytest.fixture(params=["grpc", "grpc-async"])
def client(client_triton: TritonServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of each kind that streams."""
    kind: Kind = request.param
    with open_client(kind, url_of(client_triton, kind), deadline=20) as opened:
        yield opened


def count_of(server: TritonServer, what: str) -> int:
    """How many streams of `numbers` run, this one left out, or were cancelled."""
    with Client(f"grpc://{server.grpc_url}") as client:
        # To its end: Triton 2.51 may crash where a request is cancelled just as it finishes.
        (state,) = client.stream("numbers", numbers(1))
        return int(state[what][0]) - (what == "running")


@pytest.fixture
def cancelled(client_triton: TritonServer) -> Iterator[None]:
    """The test cancels one stream, and no more: the model sees it, and nothing runs on."""
    before = count_of(client_triton, "cancelled")
    yield
    assert eventually(lambda: count_of(client_triton, "cancelled") == before + 1)
    assert count_of(client_triton, "running") == 0


@pytest.mark.parametrize("count", [0, 1, 3, 500])
def test_every_response_comes_in_order(client: Client, count: int) -> None:
    """None, one or many, each with its tensors and the request's id."""
    results = list(client.stream("numbers", numbers(count), request_id="r7", outputs=["number", "request"]))
    assert [int(result["number"][0]) for result in results] == list(range(count))
    assert all(result["request"].tolist() == [b"r7"] and result.request_id == "r7" for result in results)
    assert all(sorted(result) == ["number", "request"] for result in results)


def test_responses_come_as_they_are_made(client: Client) -> None:
    """Not all together at the end."""
    start = time.monotonic()
    stream = client.stream("numbers", numbers(4, pause=0.4))
    next(stream)
    assert time.monotonic() - start < 1.0
    assert values(stream) == [1, 2, 3]


def test_model_that_answers_once_streams_once(client: Client) -> None:
    """Whoever takes streams need not know which kind a model is."""
    ones = np.ones((1, 4), np.float32)
    assert [result["sum"].tolist() for result in client.stream("add", {"a": ones, "b": ones})] == [[[2.0] * 4]]


def test_error_after_some_responses_is_raised_there(client: Client) -> None:
    """What came before it is delivered; the same class as from `infer`, with the model's words."""
    stream = client.stream("numbers", numbers(5, fail_at=2), request_id="r8")
    assert [int(next(stream)["number"][0]) for _ in range(2)] == [0, 1]
    with pytest.raises(InferenceFailed, match=r"no number 2$") as caught:
        next(stream)
    assert (caught.value.model, caught.value.request_id) == ("numbers", "r8")
    assert values(client.stream("numbers", numbers(2))) == [0, 1]


def test_mistakes_are_found_before_anything_is_sent(client: Client) -> None:
    """The same checks as for `infer`."""
    with pytest.raises(InvalidInput, match="no input 'cuont': did you mean 'count'"):
        next(client.stream("numbers", {"cuont": np.array([1], np.int32)}))
    with pytest.raises(InvalidInput, match=r"array\.astype"):
        next(client.stream("numbers", {"count": np.array([1], np.int64)}))
    with pytest.raises(ModelNotFound):
        next(client.stream("no_such_model", {}))
    with pytest.raises(InvalidInput, match="with `stream` instead of `infer`"):
        client.infer("numbers", numbers(1))


def test_http_is_told_to_use_grpc(client_triton: TritonServer) -> None:
    """HTTP carries no streams."""
    with (
        Client(f"http://{client_triton.http_url}") as client,
        pytest.raises(InvalidInput, match=r"streams go over gRPC, and http://.* is HTTP"),
    ):
        next(client.stream("numbers", numbers(1)))


@pytest.mark.usefixtures("cancelled")
def test_deadline_bounds_the_whole_stream(client: Client) -> None:
    """Though responses come all the time; the server stops as well."""
    stream = client.stream("numbers", numbers(ENDLESS, pause=0.05), deadline=0.6)
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"the stream did not end .* 0.6 s: .* \d+ responses had come before"):
        list(stream)
    assert time.monotonic() - start < 2.0


@pytest.mark.usefixtures("cancelled")
def test_closing_cancels_the_request(client: Client) -> None:
    """At the end of `contextlib.closing`, after a `break`."""
    with contextlib.closing(client.stream("numbers", numbers(ENDLESS, pause=0.02))) as stream:
        for result in stream:
            if result["number"][0] == 3:
                break


@pytest.mark.usefixtures("cancelled")
def test_forgotten_stream_is_cancelled(client: Client) -> None:
    """Nothing refers to it any more."""
    stream = client.stream("numbers", numbers(ENDLESS, pause=0.02))
    next(stream)
    del stream
    gc.collect()


@pytest.mark.usefixtures("cancelled")
def test_error_in_the_callers_loop_cancels(client: Client) -> None:
    """The caller's own exception reaches it unchanged."""

    def take() -> None:
        for _ in client.stream("numbers", numbers(ENDLESS, pause=0.02)):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take()


@pytest.mark.usefixtures("cancelled")
async def test_cancelled_task_cancels_its_request(client_triton: TritonServer) -> None:
    """While it waits for a response."""

    async def take(client: AsyncClient) -> None:
        async for _ in client.stream("numbers", numbers(ENDLESS, pause=0.3)):
            pass

    async with AsyncClient(f"grpc://{client_triton.grpc_url}") as client:
        task = asyncio.create_task(take(client))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.usefixtures("cancelled")
async def test_closing_the_client_ends_a_task_that_waits(client_triton: TritonServer) -> None:
    """With an error that says why."""

    async def take(client: AsyncClient) -> None:
        async for _ in client.stream("numbers", numbers(ENDLESS, pause=0.3)):
            pass

    client = AsyncClient(f"grpc://{client_triton.grpc_url}")
    task = asyncio.create_task(take(client))
    await asyncio.sleep(0.5)
    await client.close()
    with pytest.raises(ClientClosed):
        await task


@pytest.mark.usefixtures("cancelled")
def test_closing_the_client_ends_its_streams(client_triton: TritonServer) -> None:
    """The next response is not waited for."""
    client = Client(f"grpc://{client_triton.grpc_url}")
    stream = client.stream("numbers", numbers(ENDLESS, pause=0.02))
    next(stream)
    client.close()
    with pytest.raises(ClientClosed):
        list(stream)


def test_slow_reader_fills_no_memory(client: Client) -> None:
    """A response is taken off the network when it is asked for: of 200 MiB, no more than a few wait here."""
    mebibyte = 2**20
    stream = client.stream("numbers", numbers(200, bytes=mebibyte))
    next(stream)
    before = psutil.Process().memory_info().rss
    time.sleep(1.0)
    assert psutil.Process().memory_info().rss - before < 50 * mebibyte
    assert len(values(stream)) == 199


def test_streams_run_beside_each_other(client_triton: TritonServer) -> None:
    """Many on one connection, none waits for another."""

    async def take(client: AsyncClient) -> int:
        return len([result async for result in client.stream("numbers", numbers(5, pause=0.1))])

    async def all_of_them() -> list[int]:
        async with AsyncClient(f"grpc://{client_triton.grpc_url}") as client:
            return await asyncio.gather(*(take(client) for _ in range(50)))

    start = time.monotonic()
    assert asyncio.run(all_of_them()) == [5] * 50
    assert time.monotonic() - start < 10
