"""A request with any number of responses, as a flow: how it is opened, read and given up, without doing it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

from modelyard_client.balance import Balancer
from modelyard_client.calls import Call, InferStream
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import ClientError, ConnectionLost, DeadlineExceeded
from modelyard_client.flow import Flow, Open, Opened, Receive, Step, attempt_until, reached, within
from modelyard_client.result import InferResponse, Result, StreamPart
from modelyard_client.retry import RetryPolicy
from modelyard_client.wire.failures import after_responses, connection_lost, too_late

# Yields the results between the steps: a driver hands them to its caller, and sends nothing back.
StreamFlow = Generator[Step | Result, Any, None]


class Stream:
    """A stream of which the first message has come; it counts as in flight on its server until it is closed.

    Args:
        opened: What the driver opened.
        endpoint: The server.
        call: What was sent.
        first: The first message, None where the stream ended without one.
        balancer: Where it counts.
    """

    def __init__(
        self, opened: Opened, endpoint: Endpoint, call: InferStream, first: StreamPart | None, balancer: Balancer
    ) -> None:
        self._opened = opened
        self._endpoint = endpoint
        self._call = call
        self._balancer = balancer
        self._ahead: list[StreamPart | None] = [first]
        self._received = 0
        self._has_final = False
        self._reachable: bool | None = True
        balancer.hold(endpoint)

    @property
    def request_id(self) -> str:
        """The id that the request was sent under."""
        return self._call.request.request_id

    def next(self) -> Flow[InferResponse | None]:
        """The next response; None after the last.

        Raises:
            ClientError: The stream failed; ConnectionLost and DeadlineExceeded say how many responses had come.
        """
        while (part := (yield from self._next_part())) is not None:
            self._has_final = self._has_final or part.is_final
            if part.response is not None:
                self._received += 1
                return part.response
        if not self._has_final:
            lost = connection_lost("the stream ended before its last response", self._endpoint, self._call)
            raise after_responses(lost, self._received)
        return None

    def _next_part(self) -> Flow[StreamPart | None]:
        if self._ahead:
            return self._ahead.pop()
        try:
            return (yield from receive(self._opened, self._received))
        except ClientError as error:
            if self._has_final:
                # Only the end of the end was lost: every response is there.
                return None
            self._reachable = reached(error)
            raise

    def close(self) -> None:
        """Tells the server to stop, where it has not finished."""
        self._opened.cancel()
        self._balancer.release(self._endpoint, self._reachable)


def open_stream(call: InferStream, balancer: Balancer, policy: RetryPolicy, deadline: Deadline) -> Flow[Stream]:
    """Opens a stream and waits for its first message; retries as `flow.send`. From then on nothing is repeated.

    Raises:
        ClientError: As for `flow.send`.
    """

    def attempt(endpoint: Endpoint, call: Call[Any], deadline: Deadline) -> Flow[Stream]:
        left = deadline.left()
        if left <= 0:
            raise too_late(deadline, endpoint, call)
        told = cast(InferStream, within(call, left))
        opened = yield Open(endpoint, told, deadline)
        try:
            first = yield from receive(opened, 0)
        except BaseException:
            # Also where the caller stops waiting: the driver closes the flow.
            opened.cancel()
            raise
        return Stream(opened, endpoint, told, first, balancer)

    return attempt_until(attempt, call, balancer, policy, deadline)


def receive(opened: Opened, received: int) -> Flow[StreamPart | None]:
    """The next message of a stream of which so many responses have come; None once it is over."""
    try:
        return cast("StreamPart | None", (yield Receive(opened)))
    except (ConnectionLost, DeadlineExceeded) as error:
        raise after_responses(error, received) from error
