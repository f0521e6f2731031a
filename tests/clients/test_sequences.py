"""Where a sequence stands after each request, whatever came of it; without a server."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from modelyard_client.errors import (
    ClientClosed,
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelNotReady,
    SequenceLost,
    ServerBusy,
    ServerUnavailable,
)
from modelyard_client.sequences import Steps, Terms


@pytest.fixture
def steps() -> Steps:
    """A sequence that has its id."""
    made = Steps(Terms("m", "3", 2, 5.0))
    made.id = 7
    return made


def step(steps: Steps, failure: BaseException | None = None, *, end: bool = False) -> dict[str, Any]:
    """One request, and what is sent with it."""
    with steps.step(end) as arguments:
        if failure:
            raise failure
    return arguments


def test_first_and_last_are_marked(steps: Steps) -> None:
    """With all else that every request carries."""
    every = {"version": "3", "priority": 2, "deadline": 5.0, "sequence_id": 7}
    assert step(steps) == {**every, "sequence_start": True, "sequence_end": False}
    assert step(steps) == {**every, "sequence_start": False, "sequence_end": False}
    assert step(steps, end=True) == {**every, "sequence_start": False, "sequence_end": True}
    with pytest.raises(InvalidInput, match="sequence 7 of model 'm': it has ended"):
        step(steps)


@pytest.mark.parametrize("error", [InvalidInput, InferenceFailed, ServerBusy, ServerUnavailable, ModelNotReady])
def test_request_that_is_refused_changes_nothing(steps: Steps, error: type[ClientError]) -> None:
    """The first stays the first, and a later one can be corrected and sent again."""
    for is_first in (True, False):
        with pytest.raises(error):
            step(steps, error("no"))
        assert step(steps)["sequence_start"] is is_first


@pytest.mark.parametrize(
    "failure", [ConnectionLost("gone."), DeadlineExceeded("late."), ClientClosed("shut."), KeyboardInterrupt()]
)
def test_unknown_outcome_loses_the_sequence(steps: Steps, failure: BaseException) -> None:
    """The step may have run or not: going on would count it twice, or leave it out."""
    step(steps)
    with pytest.raises(type(failure)):
        step(steps, failure)
    reason = str(failure).rstrip(".") or type(failure).__name__
    for _ in range(2):
        with pytest.raises(SequenceLost, match=rf"unknown \(.*{reason}.*\).* Start a new sequence") as caught:
            step(steps)
    assert caught.value.model == "m"


def test_lost_is_lost(steps: Steps) -> None:
    """Nothing is sent after the server has said so."""
    lost = SequenceLost("the server's words")
    with pytest.raises(SequenceLost):
        step(steps, lost)
    with pytest.raises(SequenceLost, match="the server's words"):
        step(steps)


def test_requests_come_one_by_one(steps: Steps) -> None:
    """A second thread gets a sentence, and the first is not disturbed."""
    failures: list[Exception] = []

    def second() -> None:
        try:
            step(steps)
        except InvalidInput as error:
            failures.append(error)

    with steps.step(end=False):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "two requests at once" in str(failures[0])
    assert step(steps)["sequence_start"] is False


def test_only_in_its_with() -> None:
    """Before, there is no id; afterwards, the server may have freed it."""
    steps = Steps(Terms("m"))
    with pytest.raises(InvalidInput, match="use it in a `with`"):
        step(steps)
    steps.id = 7
    steps.close()
    with pytest.raises(InvalidInput, match="its `with` has ended"):
        step(steps)
