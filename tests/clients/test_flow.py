"""A call with its retries, driven by hand: what is sent where, when it stops, and what is raised in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from modelyard_client import RetryPolicy
from modelyard_client.balance import Balancer
from modelyard_client.calls import Infer, RegisterRegion, ServerLive
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import (
    AccessDenied,
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ServerBusy,
    ServerUnavailable,
    SharedMemoryFailed,
    UnexpectedAnswer,
)
from modelyard_client.flow import Pause, Send, Step, send
from modelyard_client.request import InferRequest, Region

A, B, C = (Endpoint("grpc", name, 8001) for name in "abc")
Outcome = ClientError | str


@dataclass
class Run:
    """Drives a flow: `answer` says what comes of each step that is sent; pauses let the clock go on."""

    answer: Callable[[Send], Outcome]
    now: float = 0.0
    sent: list[Send] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def __call__(self, call: Any, endpoints: list[Endpoint], policy: RetryPolicy, seconds: float = 60.0) -> Any:
        """What the flow returns or raises."""
        clock = lambda: self.now  # noqa: E731 - a clock that this run turns
        flow = send(call, Balancer(endpoints, clock), policy, Deadline(seconds, clock))
        try:
            step = next(flow)
            while True:
                outcome = self._do(step)
                step = flow.throw(outcome) if isinstance(outcome, ClientError) else flow.send(outcome)
        except StopIteration as done:
            return done.value

    def _do(self, step: Step) -> Outcome | None:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.now += step.seconds
            return None
        assert isinstance(step, Send)
        self.sent.append(step)
        return self.answer(step)

    @property
    def servers(self) -> list[Endpoint]:
        """Where the calls went."""
        return [step.endpoint for step in self.sent]


def script(*outcomes: Outcome) -> Run:
    """One outcome after the other."""
    left = iter(outcomes)
    return Run(lambda _: next(left))


def infer(sequence_id: int = 0, *regions: Region) -> Infer:
    """An inference."""
    return Infer(InferRequest("m", "", "id", (), (), {}, sequence_id), regions)


THREE = RetryPolicy(attempts=3, initial_backoff=1.0, multiplier=2.0, max_backoff=60.0)


@pytest.mark.parametrize("error", [ServerUnavailable, ServerBusy])
def test_call_that_nobody_took_is_sent_again(error: type[ClientError]) -> None:
    """With a pause that grows, at least half of it fixed."""
    run = script(error("no"), error("no"), "yes")
    assert run(infer(), [A], THREE) == "yes"
    assert 0.5 <= run.pauses[0] < 1.0 <= run.pauses[1] < 2.0


def test_attempts_end() -> None:
    """The last failure is raised when the policy's attempts are used up."""
    run = script(*(ServerUnavailable(str(number)) for number in range(9)))
    with pytest.raises(ServerUnavailable, match="2"):
        run(infer(), [A], THREE)
    assert len(run.sent) == 3


@pytest.mark.parametrize(
    "error", [InvalidInput, InferenceFailed, DeadlineExceeded, AccessDenied, UnexpectedAnswer, SharedMemoryFailed]
)
def test_failures_that_would_come_again_are_not_repeated(error: type[ClientError]) -> None:
    """Neither on this server nor on another."""
    run = script(error("no"))
    with pytest.raises(error):
        run(infer(), [A, B], THREE)
    assert len(run.sent) == 1


def test_other_server_is_tried_without_a_pause() -> None:
    """And once each of them was tried, with one."""
    run = script(ServerUnavailable("a"), ServerUnavailable("b"), ServerUnavailable("c"), "yes")
    assert run(infer(), [A, B, C], THREE) == "yes"
    assert run.servers[:3] == [A, B, C]
    assert len(run.pauses) == 1


def test_each_further_server_adds_an_attempt() -> None:
    """Two dead servers do not use up what is meant for the third."""
    run = script(*(ServerUnavailable("no") for _ in range(9)))
    with pytest.raises(ServerUnavailable):
        run(infer(), [A, B, C], RetryPolicy(attempts=1))
    assert run.servers == [A, B, C]


def test_lost_connection_is_repeated_once() -> None:
    """The request may be what brings servers down: two are enough."""
    run = script(ConnectionLost("first"), ConnectionLost("second"), "never asked")
    with pytest.raises(ConnectionLost, match="first"):
        run(infer(), [A, B, C], THREE)
    assert len(run.sent) == 2


def test_lost_connection_is_what_is_told() -> None:
    """After it, no server answered: only the first failure says that the request may have run."""
    run = script(ConnectionLost("lost"), *(ServerUnavailable("gone") for _ in range(9)))
    with pytest.raises(ConnectionLost, match="lost"):
        run(infer(), [A], THREE)


def test_answer_after_a_lost_connection_counts() -> None:
    """What the repeated request brought is told, good or bad."""
    assert script(ConnectionLost("lost"), "yes")(infer(), [A], THREE) == "yes"
    with pytest.raises(InferenceFailed):
        script(ConnectionLost("lost"), InferenceFailed("bad"))(infer(), [A], THREE)


@pytest.mark.parametrize("error", [ServerUnavailable, ServerBusy, ConnectionLost, ModelNotFound])
def test_sequences_are_never_repeated(error: type[ClientError]) -> None:
    """The model's state may have changed already, and it is on one server only."""
    run = script(error("no"))
    with pytest.raises(error):
        run(infer(7), [A, B], THREE)
    assert len(run.sent) == 1


@pytest.mark.parametrize("error", [ModelNotFound, ModelNotReady])
def test_model_that_is_missing_here_may_be_there(error: type[ClientError]) -> None:
    """A draining server has unloaded its models; each other server is asked once, the same one never again."""
    run = script(error("a"), error("b"), "yes")
    assert run(infer(), [A, B, C], THREE) == "yes"
    assert (run.servers, run.pauses) == ([A, B, C], [])
    run = script(error("a"), error("b"), "never asked")
    with pytest.raises(error, match="b"):
        run(infer(), [A, B], THREE)


def test_deadline_ends_the_retries() -> None:
    """No pause goes beyond it; what is raised is what the server said, not how long it took."""
    run = script(*(ServerUnavailable(str(number)) for number in range(9)))
    with pytest.raises(ServerUnavailable, match="1"):
        run(infer(), [A], RetryPolicy(attempts=9, initial_backoff=2.0, multiplier=8.0, max_backoff=60.0), seconds=5.0)
    assert run.now < 5.0


def test_each_attempt_tells_triton_what_is_left() -> None:
    """Microseconds, less than before after a pause."""
    run = script(ServerBusy("no"), "yes")
    run(infer(), [A], THREE, seconds=10.0)
    first, second = (cast(Infer, step.call).request.parameters["timeout"] for step in run.sent)
    assert first == 10_000_000
    assert second == int((10 - run.pauses[0]) * 1e6)


def test_nothing_is_sent_after_the_deadline() -> None:
    """A late attempt would only cost the server work."""
    run = Run(lambda _: ModelNotFound("slow no"))

    def slowly(step: Send) -> Outcome:
        run.now += 7
        return ModelNotFound("slow no")

    run.answer = slowly
    with pytest.raises(ModelNotFound):
        run(infer(), [A, B], THREE, seconds=5.0)
    assert len(run.sent) == 1


def test_calls_without_inference_are_repeated_too() -> None:
    """Questions can be asked twice."""
    assert script(ConnectionLost("no"), "yes")(ServerLive(), [A], THREE) == "yes"


def test_regions_are_registered_where_they_are_not() -> None:
    """Once for each server, before the request."""
    region = Region("r", "/r", 64)
    run = script("ok", "first", "second")
    assert run(infer(0, region), [A], THREE) == "first"
    assert [type(step.call) for step in run.sent] == [RegisterRegion, Infer]
    assert run(infer(0, region), [A], THREE) == "second"
    assert type(run.sent[2].call) is Infer


def test_server_that_forgot_a_region_is_told_again() -> None:
    """It was started anew; a region that it refuses at once is an error."""
    region = Region("r", "/r", 64, {A})
    run = script(SharedMemoryFailed("unknown region"), "ok", "yes")
    assert run(infer(0, region), [A], THREE) == "yes"
    assert [type(step.call) for step in run.sent] == [Infer, RegisterRegion, Infer]
    with pytest.raises(SharedMemoryFailed):
        script(SharedMemoryFailed("no"))(infer(0, Region("s", "/s", 64)), [A], THREE)


def test_driver_that_stops_releases_the_server() -> None:
    """A cancelled task closes the flow: its call is not counted as in flight for ever."""
    balancer = Balancer([A, B])
    flow = send(infer(), balancer, THREE, Deadline(60))
    next(flow)
    flow.close()
    assert balancer._states[A].in_flight == 0


@pytest.mark.parametrize(
    "policy", [{"attempts": 0}, {"initial_backoff": -1.0}, {"max_backoff": -1.0}, {"multiplier": 0.5}]
)
def test_policies_that_make_no_sense(policy: dict[str, Any]) -> None:
    """Each with a sentence."""
    with pytest.raises(InvalidInput, match="makes no sense"):
        RetryPolicy(**policy)


def test_pauses_stay_below_the_maximum() -> None:
    """Also after very many retries."""
    policy = RetryPolicy(initial_backoff=0.1, multiplier=10.0, max_backoff=2.0)
    assert policy.pause(1, 0.0) == 0.05
    assert policy.pause(10_000, 0.999) < 2.0
