"""The search for what stays in the higher precision: right, and cheap, for any course of the error."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from modelyard_build.precision.sensitivity import Search, search

ERRORS = st.lists(st.floats(0, 10), min_size=1, max_size=300)


def run(errors: list[float], bound: float) -> tuple[Search | None, list[int]]:
    measured: list[int] = []

    def measure(kept: int) -> float:
        measured.append(kept)
        return errors[kept]

    return search(len(errors), measure, bound), measured


@given(ERRORS, st.floats(0, 10))
def test_finds_the_fewest_where_keeping_more_is_never_worse(errors: list[float], bound: float) -> None:
    """With falling errors the result is the smallest count that holds, or nothing where none does."""
    falling = sorted(errors, reverse=True)
    found, _ = run(falling, bound)
    enough = [count for count, error in enumerate(falling) if error <= bound]
    assert (found.excluded if found else None) == (enough[0] if enough else None)


@given(ERRORS, st.floats(0, 10))
def test_never_returns_what_was_not_measured_to_hold(errors: list[float], bound: float) -> None:
    """Whatever the errors do, the result was measured, holds, and its steps tell what was seen."""
    found, measured = run(errors, bound)
    if found:
        assert found.excluded in measured
        assert errors[found.excluded] <= bound
        assert list(found.steps) == [(count, errors[count]) for count in measured]


@given(ERRORS, st.floats(0, 10))
def test_measures_a_logarithmic_number_of_times(errors: list[float], bound: float) -> None:
    """At most 2 + log2(n) measurements, and none twice."""
    _, measured = run(errors, bound)
    assert len(measured) <= 2 + math.log2(len(errors))
    assert len(set(measured)) == len(measured)


@given(st.floats(0, 10))
def test_nothing_to_leave_out_is_no_result(bound: float) -> None:
    """Without candidates nothing is measured."""
    assert run([], bound) == (None, [])
