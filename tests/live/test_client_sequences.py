"""Sequences: state on the server, one request after the other, and what is said when the state is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from modelyard_client import AsyncClient, Client
from modelyard_client.errors import DeadlineExceeded, InferenceFailed, InvalidInput, ModelNotFound, SequenceLost
from modelyard_server.process import TritonServer
from support.clients import KINDS, Kind, open_client, url_of

pytestmark = pytest.mark.live


def add(number: int) -> dict[str, Any]:
    """The inputs of `steps`."""
    return {"number": np.array([[number]], np.int32)}


@pytest.fixture
def idle(client_triton: TritonServer) -> Iterator[None]:
    """Leaves the model idle: a request that was given up still runs, and a sequence that waits behind it is idle."""
    yield
    with Client(f"grpc://{client_triton.grpc_url}") as client, client.sequence("steps") as sequence:
        sequence.infer(add(0), end=True)


@pytest.fixture(params=KINDS)
def client(client_triton: TritonServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of each kind."""
    kind: Kind = request.param
    with open_client(kind, url_of(client_triton, kind), deadline=20) as opened:
        yield opened


def test_state_is_kept_from_request_to_request(client: Client) -> None:
    """Two sequences beside each other, each with its own."""
    with client.sequence("steps") as one, client.sequence("steps") as other:
        totals = [int(each.infer(add(number))["total"][0, 0]) for number in (1, 2) for each in (one, other, one)]
        last = one.infer(add(5), end=True, outputs=["total"])
        assert one.id != other.id
    assert totals == [1, 1, 2, 4, 3, 6]
    assert {name: array.tolist() for name, array in last.items()} == {"total": [[11]]}


def test_ended_sequence_takes_no_more(client: Client) -> None:
    """Said here, not by the server."""
    with client.sequence("steps", 4711) as sequence:
        sequence.infer(add(1), end=True)
        with pytest.raises(InvalidInput, match="sequence 4711 of model 'steps': it has ended"):
            sequence.infer(add(1))


def test_bad_requests_leave_the_state_as_it_is(client: Client) -> None:
    """Refused here, by the server's checks or by the model: the next request goes on, a first one stays the first."""
    with client.sequence("steps") as sequence:
        for total in (1, 2):
            with pytest.raises(InvalidInput, match=r"array\.astype"):
                sequence.infer({"number": np.array([[1.0]])})
            with pytest.raises(InferenceFailed, match="13 is not liked"):
                sequence.infer(add(13))
            assert sequence.infer(add(1))["total"] == total


def test_models_and_ids_that_make_no_sequence(client: Client) -> None:
    """Known before the first request."""
    for model, sequence_id, error, says in (
        ("add", None, InvalidInput, "keeps no sequences"),
        ("steps", "text", InvalidInput, "takes UINT64"),
        ("steps", 0, InvalidInput, "integers from 1"),
        ("no_such_model", None, ModelNotFound, "no_such_model"),
    ):
        with pytest.raises(error, match=says), client.sequence(model, sequence_id):
            pass


def test_idle_sequence_is_lost(client_triton: TritonServer) -> None:
    """The server has freed it; all kinds of clients say what probably happened and what to do."""
    with ExitStack() as stack:
        clients = [stack.enter_context(open_client(kind, url_of(client_triton, kind))) for kind in KINDS]
        sequences = [stack.enter_context(client.sequence("steps")) for client in clients]
        for sequence in sequences:
            sequence.infer(add(1))
        time.sleep(3.5)
        for sequence in sequences:
            for _ in range(2):
                with pytest.raises(SequenceLost, match=r"idle for longer .* Start a new sequence with its history"):
                    sequence.infer(add(1))


@pytest.mark.usefixtures("idle")
def test_late_answer_loses_the_sequence(client: Client) -> None:
    """Whether the step counted is unknown, so no further one is sent."""
    with client.sequence("steps", deadline=0.3) as sequence:
        sequence.infer(add(1))
        with pytest.raises(DeadlineExceeded, match="other sequences hold all of the model's slots"):
            sequence.infer(add(60))
        with pytest.raises(SequenceLost, match=r"whether its last request ran is unknown \(no answer"):
            sequence.infer(add(1))


@pytest.mark.usefixtures("idle")
async def test_tasks_do_not_share_a_sequence(client_triton: TritonServer) -> None:
    """A second request at once is a mistake, for their order makes the state; a cancelled one loses the sequence."""
    async with AsyncClient(f"grpc://{client_triton.grpc_url}") as client, client.sequence("steps") as sequence:
        both = await asyncio.gather(*(sequence.infer(add(1)) for _ in range(2)), return_exceptions=True)
        assert isinstance(both[1], InvalidInput)
        task = asyncio.create_task(sequence.infer(add(60)))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(SequenceLost, match="interrupted by CancelledError"):
            await sequence.infer(add(1))


def test_many_sequences_at_once(client_triton: TritonServer) -> None:
    """Each counts for itself, whatever runs beside it."""

    async def run(client: AsyncClient, steps: int) -> int:
        async with client.sequence("steps") as sequence:
            for step in range(steps):
                total = (await sequence.infer(add(2), end=step == steps - 1))["total"]
        return int(total[0, 0])

    async def all_of_them() -> list[int]:
        async with AsyncClient(f"grpc://{client_triton.grpc_url}") as client:
            return await asyncio.gather(*(run(client, steps) for steps in range(1, 51)))

    assert asyncio.run(all_of_them()) == [2 * steps for steps in range(1, 51)]
