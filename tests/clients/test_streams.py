"""A stream, driven by hand: what is opened where, what is repeated, and what is left when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from modelyard_client import RetryPolicy
from modelyard_client.balance import Balancer
from modelyard_client.calls import GetConfig, GetMetadata, InferStream
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import (
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ServerBusy,
    ServerUnavailable,
)
from modelyard_client.flow import Open, Pause, Receive, Send, resume
from modelyard_client.metadata import ModelMetadata
from modelyard_client.operations import Operations
from modelyard_client.request import InferOptions, InferRequest
from modelyard_client.result import InferResponse, Result, StreamPart
from modelyard_client.streams import open_stream

A, B = (Endpoint("grpc", name, 8001) for name in "ab")
HTTP = Endpoint("http", "h", 8000)
CALL = InferStream(InferRequest("m", "", "id", (), (), {}))
THREE = RetryPolicy(attempts=3)
END = StreamPart(None, is_final=True)
Message = StreamPart | ClientError | None


def part(version: str) -> StreamPart:
    """A response."""
    return StreamPart(InferResponse("m", version, "id"), is_final=False)


@dataclass
class Opened:
    """A stream whose messages are known; after them, it is over."""

    endpoint: Endpoint
    messages: Iterator[Message]
    cancelled: int = 0

    def cancel(self) -> None:
        """Counts."""
        self.cancelled += 1


@dataclass
class Run:
    """Does what a flow asks for: each stream that it opens brings the next of `streams`."""

    streams: list[list[Message]]
    opened: list[Opened] = field(default_factory=list)
    timeouts: list[Any] = field(default_factory=list)

    def outcome(self, step: Send | Pause | Open | Receive) -> Any:
        """What comes of a step."""
        if isinstance(step, Open):
            self.timeouts.append(step.call.request.parameters["timeout"])
            self.opened.append(Opened(step.endpoint, iter(self.streams.pop(0))))
            return self.opened[-1]
        if isinstance(step, Receive):
            assert isinstance(step.stream, Opened)
            return next(step.stream.messages, None)
        if isinstance(step, Send):
            return METADATA[type(step.call)]
        return None

    def all(self, flow: Any) -> Any:
        """What it returns or raises."""
        try:
            step = next(flow)
            while True:
                step = resume(flow, self.outcome(step))
        except StopIteration as done:
            return done.value

    def versions(self, flow: Any) -> list[str]:
        """The results that it yields."""
        results = []
        try:
            step = next(flow)
            while True:
                if isinstance(step, Result):
                    results.append(step.model_version)
                    step = next(flow)
                else:
                    step = resume(flow, self.outcome(step))
        except StopIteration:
            return results


CONFIG = ModelConfig(name="m", model_transaction_policy={"decoupled": True})
METADATA: dict[Any, Any] = {GetMetadata: ModelMetadata("m", ("1",), "", (), ()), GetConfig: CONFIG}


def stream(operations: Operations) -> Any:
    """A stream of the model."""
    return operations.stream("m", {}, InferOptions(request_id="id"), None)


def operations(*endpoints: Endpoint) -> Operations:
    """Over some servers."""
    return Operations(endpoints, 60.0, THREE)


def in_flight(balancer: Balancer) -> list[int]:
    """On each server."""
    return [balancer._states[endpoint].in_flight for endpoint in balancer.endpoints]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_response_is_yielded(count: int) -> None:
    """None, one or many, until the sign that ends the stream; an answer that carries the sign itself counts too."""
    versions = [str(number) for number in range(count)]
    run = Run([[*map(part, versions), END]])
    asked = operations(A)
    assert run.versions(stream(asked)) == versions
    assert in_flight(asked._grpc_balancer) == [0]
    whole = StreamPart(InferResponse("m", "7", "id"), is_final=True)
    assert Run([[whole]]).versions(stream(operations(A))) == ["7"]


@pytest.mark.parametrize("error", [ServerUnavailable, ServerBusy, ConnectionLost])
def test_before_the_first_response_it_is_opened_again(error: type[ClientError]) -> None:
    """Where `infer` would be repeated too, on another server; the failed one is cancelled."""
    run = Run([[error("no")], [part("1"), END]])
    assert run.versions(stream(operations(A, B))) == ["1"]
    assert [(each.endpoint, each.cancelled) for each in run.opened] == [(A, 1), (B, 1)]


@pytest.mark.parametrize("error", [ServerUnavailable, ServerBusy, ConnectionLost, InvalidInput])
def test_after_a_response_nothing_is_repeated(error: type[ClientError]) -> None:
    """The caller has had the beginning already."""
    run = Run([[part("1"), error("no")]])
    asked = operations(A, B)
    with pytest.raises(error):
        run.versions(stream(asked))
    assert len(run.opened) == 1
    assert in_flight(asked._grpc_balancer) == [0, 0]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([ConnectionLost("gone.")] * 1, r"gone\. No responses had come before\."),
        ([part("1"), ConnectionLost("gone.")], r"gone\. 1 response had come before\."),
        ([part("1"), part("2"), DeadlineExceeded("late.")], r"late\. 2 responses had come before\."),
        ([part("1"), InferenceFailed("its words")], r"its words$"),
        ([part("1")], r"middle of a stream \(the stream ended before its last response\).* 1 response had come"),
        ([], r"middle of a stream .* No responses had come"),
    ],
)
def test_failure_says_how_far_it_had_come(messages: list[Message], says: str) -> None:
    """Where that tells the caller something; a stream that just ends is not taken for a whole one."""
    with pytest.raises(ClientError, match=says):
        Run([messages, messages]).versions(stream(Operations([A], 60.0, RetryPolicy(attempts=1))))


def test_what_comes_after_the_last_response_changes_nothing() -> None:
    """The server may go away once it has said that this was all."""
    run = Run([[part("1"), END, ConnectionLost("gone")]])
    assert run.versions(stream(operations(A))) == ["1"]


@pytest.mark.parametrize("steps", [4, 5, 6])
def test_closing_cancels(steps: int) -> None:
    """Wherever the caller stops: while the first response is awaited, while it has it, and while it awaits the next."""
    run = Run([[part("1"), part("2")]])
    asked = operations(A)
    flow = stream(asked)
    step = next(flow)
    for _ in range(steps - 1):
        step = next(flow) if isinstance(step, Result) else resume(flow, run.outcome(step))
    flow.close()
    assert run.opened[0].cancelled == 1
    assert in_flight(asked._grpc_balancer) == [0]


def test_stream_counts_as_in_flight_until_it_is_closed() -> None:
    """A server with many streams gets no more of them than its neighbours."""
    balancer = Balancer([A, B])
    run = Run([[part("1")] for _ in range(4)])
    opened = [run.all(open_stream(CALL, balancer, THREE, Deadline(60))) for _ in range(4)]
    assert in_flight(balancer) == [2, 2]
    opened[0].close()
    assert in_flight(balancer) == [1, 2]


def test_server_that_breaks_off_is_put_aside() -> None:
    """The next stream goes to another one."""
    balancer = Balancer([A, B])
    run = Run([[part("1"), ConnectionLost("gone")], [part("1")], [part("1")]])
    first = run.all(open_stream(CALL, balancer, THREE, Deadline(60)))
    run.all(first.next())
    with pytest.raises(ConnectionLost):
        run.all(first.next())
    first.close()
    for _ in range(2):
        run.all(open_stream(CALL, balancer, THREE, Deadline(60)))
    assert [each.endpoint for each in run.opened] == [A, B, B]


def test_triton_is_told_the_deadline() -> None:
    """In microseconds, for the queue."""
    run = Run([[END]])
    run.versions(stream(operations(A)))
    assert 59_000_000 < run.timeouts[0] <= 60_000_000


def test_nothing_is_opened_after_the_deadline() -> None:
    """It is said at once."""
    now = iter([0.0, 61.0, 61.0, 61.0])
    clock: Callable[[], float] = lambda: next(now)  # noqa: E731 - a clock that jumps
    with pytest.raises(DeadlineExceeded, match="the stream did not end"):
        Run([]).all(open_stream(CALL, Balancer([A]), THREE, Deadline(60, clock)))


def test_only_grpc_carries_streams() -> None:
    """A client with servers of both kinds uses those; one without any says so before it sends anything."""
    run = Run([[part("1"), END], [part("2"), END]])
    mixed = operations(HTTP, A)
    assert run.versions(stream(mixed)) + run.versions(stream(mixed)) == ["1", "2"]
    assert {each.endpoint for each in run.opened} == {A}
    with pytest.raises(InvalidInput, match="go over gRPC, and http://h:8000 is HTTP"):
        next(stream(operations(HTTP)))
