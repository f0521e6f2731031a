"""What is computed of streams that were measured, on times one can follow."""

from __future__ import annotations

import pytest

from measure.streams import Play, Stream, rounds, row, table


def stream(started: float, *arrivals: float) -> Stream:
    return Stream(started, arrivals)


def test_the_first_response_and_the_rate_after_it() -> None:
    """The rate counts the gaps, not the responses: the first is not waited for again."""
    found = stream(10.0, 10.5, 10.7, 10.9)
    assert found.first_s == pytest.approx(0.5)
    assert found.rate == pytest.approx(5)


def test_throughput_is_of_all_streams_together() -> None:
    """From the first request to the last response."""
    assert Play((stream(0.0, 1.0, 2.0), stream(0.5, 1.5, 4.0))).throughput == pytest.approx(1.0)


def test_rows_hold_rounds_against_the_run_beside_them() -> None:
    """The ratio is of each round's own pair; a slow machine in one round slows both down."""
    fast, slow = Play((stream(0.0, 1.0, 2.0),)), Play((stream(0.0, 2.0, 4.0),))
    found = row([fast, slow], [2.0, 1.0])
    assert found.clients == 1
    assert found.ratio.mean == pytest.approx(0.5)
    assert found.ratio.low == pytest.approx(found.ratio.high)
    assert (found.first_p50_s, found.first_max_s) == (1.5, 2.0)
    assert "served / in process" in table([found])
    assert "0.500 [0.500, 0.500]" in table([found])


def test_each_round_begins_with_another_part() -> None:
    """And the first one, which warms up, counts nowhere."""
    order: list[str] = []

    def part(name: str) -> Play:
        order.append(name)
        return Play((stream(0.0, float(len(order)), 99.0),))

    def own() -> float:
        order.append("own")
        return float(len(order))

    plays, rates = rounds([lambda: part("one"), lambda: part("eight")], own, 2)
    assert order == ["one", "eight", "own", "eight", "own", "one", "own", "one", "eight"]
    assert [[each.streams[0].first_s for each in found] for found in plays] == [[6.0, 8.0], [4.0, 9.0]]
    assert rates == [5.0, 7.0]
