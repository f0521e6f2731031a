"""What servers refuse, and what answers late: a typed error with a sentence, in both clients over both protocols."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from modelyard_client import AsyncClient, Client, Result, RetryPolicy
from modelyard_client.errors import (
    ClientClosed,
    ClientError,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    SequenceLost,
    ServerBusy,
    ServerUnavailable,
    UnexpectedAnswer,
)
from modelyard_server.process import TritonServer
from support.clients import KINDS, Kind, open_client, url_of

pytestmark = pytest.mark.live

LONG, SHORT = np.full((1, 1), 0.8, np.float32), np.full((1, 1), 0.01, np.float32)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of client."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture(scope="module")
def client(client_triton: TritonServer, kind: Kind) -> Iterator[Client]:
    """A client of each kind that sends once."""
    with open_client(kind, url_of(client_triton, kind), deadline=30, retry=RetryPolicy(attempts=1)) as opened:
        yield opened


@pytest.fixture
def idle(client: Client) -> Iterator[None]:
    """Leaves the model `narrow` idle: a request that was given up still runs on the server."""
    yield
    client.infer("narrow", {"seconds": SHORT}, deadline=30)


def test_unknown_model_is_named(client: Client) -> None:
    """The error names the server and the model, as attributes too."""
    with pytest.raises(ModelNotFound, match=r"://127.0.0.1:\d+ .*'no_such_model'") as caught:
        client.infer("no_such_model", {})
    assert caught.value.model == "no_such_model"
    assert caught.value.url is not None


def test_unknown_version_is_named(client: Client) -> None:
    """A version that does not exist is told apart from the model."""
    with pytest.raises(ModelNotFound, match="'echo' version 9"):
        client.infer("echo", {"text": ["x"]}, version="9")


def test_failure_of_the_model_ends_with_its_own_words(client: Client) -> None:
    """The model's reason reaches the caller, with the id under which the log has it."""
    with pytest.raises(InferenceFailed, match="this text is not liked") as caught:
        client.infer("echo", {"text": ["fail"]}, request_id="r9")
    assert (caught.value.model, caught.value.request_id) == ("echo", "r9")


def test_sequence_model_asks_for_a_sequence(client: Client) -> None:
    """Nothing is sent without the id that the model needs."""
    with pytest.raises(InvalidInput, match="pass sequence_id"):
        client.infer("counter", {"number": np.ones((1, 1), np.int32)})


def test_request_of_an_unknown_sequence_is_refused_by_the_server(client: Client) -> None:
    """What only the server can know comes back with its own words, and with what probably happened."""
    with pytest.raises(SequenceLost, match=r"does not know sequence 999 .*START flag.*restarted"):
        client.infer("counter", {"number": np.ones((1, 1), np.int32)}, sequence_id=999)


@pytest.mark.usefixtures("idle")
def test_late_answer_ends_with_the_deadline(client: Client) -> None:
    """The call returns when its time is up, not when the model has finished."""
    with pytest.raises(DeadlineExceeded, match=r"within the deadline of 0.2 s") as caught:
        client.infer("narrow", {"seconds": LONG}, deadline=0.2, request_id="late")
    assert caught.value.request_id == "late"


@pytest.mark.usefixtures("idle")
def test_full_queue_is_busy(client: Client, client_triton: TritonServer) -> None:
    """One request runs, two wait, the next ones are refused: the server says so, and so does the error."""
    refused: list[ClientError] = []

    def call() -> None:
        with Client(f"grpc://{client_triton.grpc_url}", retry=RetryPolicy(attempts=1)) as other:
            try:
                other.infer("narrow", {"seconds": LONG})
            except ServerBusy as error:
                refused.append(error)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    with pytest.raises(ServerBusy, match="maximum queue size"):
        client.infer("narrow", {"seconds": SHORT})
    for thread in threads:
        thread.join()
    assert len(refused) >= 2


@pytest.mark.usefixtures("idle")
def test_busy_server_is_asked_again(client_triton: TritonServer, kind: Kind) -> None:
    """With retries, requests that found the queue full get their turn within the deadline."""
    answers: list[int] = []

    def call() -> None:
        patient = RetryPolicy(attempts=100, max_backoff=0.2)
        with open_client(kind, url_of(client_triton, kind), deadline=30, retry=patient) as other:
            answers.append(int(other.infer("narrow", {"seconds": SHORT})["server"][0, 0]))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6


@pytest.mark.usefixtures("idle")
def test_server_gives_up_what_waits_past_the_deadline(client: Client, client_triton: TritonServer) -> None:
    """The deadline is told to the server: a request that only waited does not run afterwards."""
    with Client(f"grpc://{client_triton.grpc_url}") as other:
        before = other.infer("narrow", {"seconds": SHORT})["runs"][0, 0]
        blocker = threading.Thread(target=other.infer, args=("narrow", {"seconds": LONG}))
        blocker.start()
        time.sleep(0.2)
        with pytest.raises(DeadlineExceeded):
            client.infer("narrow", {"seconds": LONG}, deadline=0.3)
        blocker.join()
        assert other.infer("narrow", {"seconds": SHORT})["runs"][0, 0] == before + 2


def test_ready_is_waited_for_no_longer_than_told(client: Client) -> None:
    """A model that never comes ends the wait with a sentence that names it."""
    with pytest.raises(ModelNotReady, match="model 'nobody' did not become ready") as caught:
        client.wait_ready("nobody", timeout=0.3)
    assert caught.value.model == "nobody"


def test_other_protocols_port_is_recognised(client_triton: TritonServer, kind: Kind) -> None:
    """The commonest mistake of all: 8000 for 8001, or the other way round."""
    url = f"grpc://{client_triton.http_url}" if kind.startswith("grpc") else f"http://{client_triton.grpc_url}"
    with (
        open_client(kind, url, deadline=10, retry=RetryPolicy(attempts=1)) as wrong,
        pytest.raises((UnexpectedAnswer, ServerUnavailable), match="port"),
    ):
        wrong.metadata("add")


def test_closed_client_says_so(client_triton: TritonServer, kind: Kind) -> None:
    """Use after close is a mistake with a name."""
    with open_client(kind, url_of(client_triton, kind)) as client:
        client.close()
        with pytest.raises(ClientClosed, match="make a new one"):
            client.infer("add", {})


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_closing_ends_the_calls_of_other_threads(client_triton: TritonServer, scheme: Kind) -> None:
    """A thread that waits for an answer gets it, or the error that says why not; it does not hang."""
    client = Client(url_of(client_triton, scheme))
    outcomes: list[object] = []

    def call() -> None:
        try:
            outcomes.append(client.infer("slow", {"seconds": LONG}))
        except ClientError as error:
            outcomes.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.3)
    client.close()
    thread.join(timeout=10)
    assert [type(outcome) for outcome in outcomes] in ([Result], [ClientClosed])
    assert not any(getattr(transport, "_idle", ()) for transport in client._transports.values())


@pytest.mark.parametrize("scheme", ["grpc", "http"])
async def test_closing_ends_the_calls_of_other_tasks(client_triton: TritonServer, scheme: Kind) -> None:
    """The same for tasks: they are not cancelled, they get an error."""
    client = AsyncClient(url_of(client_triton, scheme))
    await client.infer("slow", {"seconds": SHORT})
    task = asyncio.create_task(client.infer("slow", {"seconds": LONG}))
    await asyncio.sleep(0.3)
    await client.close()
    with pytest.raises(ClientClosed):
        await task
