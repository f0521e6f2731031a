"""Which server takes a call, on a clock that the tests turn."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard_client.balance import LONGEST_PAUSE_S, Balancer
from modelyard_client.endpoint import Endpoint

A, B, C = (Endpoint("grpc", name, 8001) for name in "abc")


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock of its own for each test."""
    return Clock()


@pytest.fixture
def balancer(clock: Clock) -> Balancer:
    """Three servers."""
    return Balancer([A, B, C], clock)


def use(balancer: Balancer, reachable: bool | None = True) -> Endpoint:
    """One call, from beginning to end."""
    endpoint = balancer.acquire()
    balancer.release(endpoint, reachable)
    return endpoint


def test_one_after_the_other(balancer: Balancer) -> None:
    """With nothing in flight the servers take turns."""
    assert [use(balancer) for _ in range(6)] == [A, B, C, A, B, C]


def test_the_one_with_the_fewest_in_flight(balancer: Balancer) -> None:
    """A slow server gets fewer calls than fast ones."""
    assert [balancer.acquire() for _ in range(3)] == [A, B, C]
    balancer.release(B, True)
    assert balancer.acquire() is B
    balancer.release(C, True)
    balancer.release(A, True)
    assert {balancer.acquire(), balancer.acquire()} == {A, C}


def test_unreachable_server_is_put_aside_and_tried_again(balancer: Balancer, clock: Clock) -> None:
    """After a second one single call tries it, the others keep away until that has succeeded."""
    use(balancer, reachable=False)
    assert A not in {use(balancer) for _ in range(6)}
    assert {balancer.acquire() for _ in range(4)} == {B, C}
    clock.now += 1.01
    assert balancer.acquire() is A
    # Though the others have more in flight.
    assert A not in {use(balancer) for _ in range(6)}
    balancer.release(A, True)
    assert A in {use(balancer) for _ in range(3)}


def test_pause_doubles_up_to_the_longest(clock: Clock) -> None:
    """1, 2, 4, 8, 16, 30, 30… seconds."""
    balancer = Balancer([A, B], clock)
    for seconds in (1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S):
        balancer.release(balancer.acquire(tried=[B]), False)
        clock.now += seconds - 0.01
        assert not balancer.has_other([B])
        clock.now += 0.02
        assert balancer.has_other([B])


def test_when_all_are_aside_the_first_to_return_is_taken(balancer: Balancer, clock: Clock) -> None:
    """A call is always sent somewhere."""
    for _ in range(3):
        use(balancer, reachable=False)
        clock.now += 0.1
    assert use(balancer) is A


def test_tried_servers_come_last(balancer: Balancer) -> None:
    """A retry goes elsewhere while there is an elsewhere."""
    assert balancer.acquire(tried=[A, C]) is B
    assert not balancer.has_other([A, B, C])
    assert balancer.acquire(tried=[A, B, C]) in (A, B, C)


def test_call_that_learned_nothing_changes_nothing(balancer: Balancer) -> None:
    """A deadline or a cancelled task says neither that a server is up nor that it is down."""
    use(balancer, reachable=None)
    assert {use(balancer) for _ in range(3)} == {A, B, C}


@given(st.one_of(st.integers(1, 2**63 - 1), st.text(min_size=1)))
def test_sequence_stays_on_one_server(sequence_id: int | str) -> None:
    """Whatever is in flight or aside: its state is there. Another process chooses the same."""
    balancer = Balancer([A, B, C])
    owner = balancer.acquire(sequence_id=sequence_id)
    balancer.release(owner, False)
    assert {balancer.acquire(sequence_id=sequence_id) for _ in range(5)} == {owner}
    assert Balancer([A, B, C]).acquire(sequence_id=sequence_id) is owner


def test_new_sequence_goes_where_the_next_call_would(balancer: Balancer) -> None:
    """Ids are drawn until one belongs to that server: not to one that is busy, or put aside."""
    numbers = itertools.count(1)
    use(balancer, reachable=False)
    balancer.acquire()
    for _ in range(5):
        assert balancer.acquire(sequence_id=balancer.sequence_id(lambda: next(numbers))) == C
        balancer.release(C, True)


def test_sequences_spread() -> None:
    """Not all of them on one."""
    balancer = Balancer([A, B, C])
    assert {balancer.acquire(sequence_id=number) for number in range(1, 30)} == {A, B, C}
