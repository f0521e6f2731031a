"""A call with its retries, as a flow: what is to be done next, without doing it.

A flow is a generator. It yields a step, one of `Step`; a driver (client.py blocks, aio.py awaits) does it and sends the
answer back in, or throws the ClientError that came instead. What the flow returns is the call's answer.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from modelyard_client.balance import Balancer
from modelyard_client.calls import Answer, Call, Infer, InferStream, RegisterRegion
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import (
    ClientClosed,
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    ModelNotFound,
    ModelNotReady,
    ServerUnavailable,
    SharedMemoryFailed,
    UnexpectedAnswer,
)
from modelyard_client.request import Region
from modelyard_client.retry import RetryPolicy
from modelyard_client.wire.failures import too_late

logger = logging.getLogger("modelyard_client")


@dataclass(frozen=True)
class Send:
    """Send this call to this server, and answer with what it says before the deadline."""

    endpoint: Endpoint
    call: Call[Any]
    deadline: Deadline


@dataclass(frozen=True)
class Pause:
    """Do nothing for so long."""

    seconds: float


class Opened(Protocol):
    """A stream that a driver has opened."""

    def cancel(self) -> None:
        """Tells the server to stop, without waiting for it; nothing where the stream has ended."""


@dataclass(frozen=True)
class Open:
    """Send this call to this server, and answer with the stream of its responses (`Opened`), without waiting."""

    endpoint: Endpoint
    call: InferStream
    deadline: Deadline


@dataclass(frozen=True)
class Receive:
    """Wait for the next message of a stream, and answer with it (`StreamPart`), or None once the stream is over."""

    stream: Opened


T = TypeVar("T")
Asked = TypeVar("Asked")
Step = Send | Pause | Open | Receive
Flow = Generator[Step, Any, T]
# What makes one attempt to carry a call to a server.
Attempt = Callable[[Endpoint, Call[Any], Deadline], Flow[T]]


def resume(flow: Generator[Asked, Any, Any], outcome: Any) -> Asked:
    """Goes on with what came of a flow's step, an answer or a ClientError; returns what it asks for next."""
    return flow.throw(outcome) if isinstance(outcome, ClientError) else flow.send(outcome)


@dataclass
class _History:
    """What has happened to a call so far."""

    tried: list[Endpoint] = field(default_factory=list)
    pauses: int = 0
    lost: ConnectionLost | None = None


def send(call: Call[Answer], balancer: Balancer, policy: RetryPolicy, deadline: Deadline) -> Flow[Answer]:
    """Sends a call until a server answers it, the policy ends or the deadline passes.

    Raises:
        ClientError: As for `attempt_until`.
    """
    return attempt_until(_attempt, call, balancer, policy, deadline)


def attempt_until(
    attempt: Attempt[T], call: Call[Any], balancer: Balancer, policy: RetryPolicy, deadline: Deadline
) -> Flow[T]:
    """Makes attempts until one succeeds, the policy ends or the deadline passes.

    Raises:
        ClientError: The failure of the last attempt. Where that one found no server, an earlier attempt's
            ConnectionLost, because only that one says that the request may have run.
    """
    history = _History()
    while True:
        endpoint = balancer.acquire(history.tried, call.sequence_id)
        reachable: bool | None = None
        try:
            answer = yield from attempt(endpoint, call, deadline)
            reachable = True
            return answer
        except ClientError as error:
            reachable = reached(error)
            failure = error
        finally:
            balancer.release(endpoint, reachable)
        history.tried.append(endpoint)
        pause = _pause_before_retry(failure, call, history, balancer, policy)
        if pause is None or pause >= deadline.left():
            raise (history.lost if history.lost and isinstance(failure, ServerUnavailable) else failure)
        logger.debug("attempt %d failed, next in %.3f s: %s", len(history.tried), pause, failure)
        if pause:
            yield Pause(pause)


def _attempt(endpoint: Endpoint, call: Call[Answer], deadline: Deadline) -> Flow[Answer]:
    regions = call.regions if isinstance(call, Infer) else ()
    new = [region for region in regions if endpoint not in region.registered]
    yield from _register(new, endpoint, deadline)
    try:
        return (yield from _send_once(endpoint, call, deadline))
    except SharedMemoryFailed:
        if new or not regions:
            raise
    # The regions were registered long ago, and the server has been started anew since.
    yield from _register(regions, endpoint, deadline)
    return (yield from _send_once(endpoint, call, deadline))


def _register(regions: Sequence[Region], endpoint: Endpoint, deadline: Deadline) -> Flow[None]:
    for region in regions:
        yield from _send_once(endpoint, RegisterRegion(region.name, region.key, region.size), deadline)
        region.registered.add(endpoint)


def _send_once(endpoint: Endpoint, call: Call[Answer], deadline: Deadline) -> Flow[Answer]:
    left = deadline.left()
    if left <= 0:
        raise too_late(deadline, endpoint, call)
    answer = yield Send(endpoint, within(call, left), deadline)
    return cast(Answer, answer)


def within(call: Call[Answer], seconds: float) -> Call[Answer]:
    """The same call, telling Triton how many microseconds the request may wait in the model's queue."""
    if not isinstance(call, Infer):
        return call
    parameters = {**call.request.parameters, "timeout": max(1, int(seconds * 1e6))}
    request = dataclasses.replace(call.request, parameters=parameters)
    return cast(Call[Answer], dataclasses.replace(call, request=request))


def reached(error: ClientError) -> bool | None:
    """Whether a failure shows that the server can be reached; None where it does not tell."""
    if type(error) in (ServerUnavailable, ConnectionLost):
        return False
    if isinstance(error, DeadlineExceeded | UnexpectedAnswer | ClientClosed) or error.url is None:
        return None
    # The server's own answer, though it is a refusal.
    return True


def _pause_before_retry(
    failure: ClientError, call: Call[Any], history: _History, balancer: Balancer, policy: RetryPolicy
) -> float | None:
    """Seconds until the next attempt, or None where there is to be none."""
    other = balancer.has_other(history.tried)
    if call.sequence_id or len(history.tried) >= policy.attempts + len(balancer.endpoints) - 1:
        return None
    if isinstance(failure, ModelNotFound | ModelNotReady):
        # A server that drains has already unloaded its models; another one may still serve them.
        return 0.0 if other else None
    if not isinstance(failure, ServerUnavailable):
        return None
    if isinstance(failure, ConnectionLost):
        if history.lost is not None:
            # Twice is enough: this request may be what brings the servers down.
            return None
        history.lost = failure
    if other:
        return 0.0
    history.pauses += 1
    return policy.pause(history.pauses, random.random())  # noqa: S311 - jitter, no secret
