"""What is computed of streams that were measured, on times one can follow; what the systems are asked."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from measure.served import Tensors
from measure.streaming_systems import SYSTEMS
from measure.streams import Play, Stream, Turn, row, table, turns


def stream(started: float, *arrivals: float) -> Stream:
    return Stream(started, arrivals, (1,) * len(arrivals))


def test_the_first_response_and_the_rate_after_it() -> None:
    """The rate counts the gaps, not the responses: the first is not waited for again."""
    found = stream(10.0, 10.5, 10.7, 10.9)
    assert found.first_s == pytest.approx(0.5)
    assert found.rate == pytest.approx(5)


def test_a_response_may_hold_several_items() -> None:
    """What the first one brought does not count for the rate, and does for the throughput."""
    found = Stream(0.0, (1.0, 2.0, 3.0), (5, 1, 3))
    assert found.rate == pytest.approx(2)
    assert Play((found,)).throughput == pytest.approx(3)


def test_throughput_is_of_all_streams_together() -> None:
    """From the first request to the last response."""
    assert Play((stream(0.0, 1.0, 2.0), stream(0.5, 1.5, 4.0))).throughput == pytest.approx(1.0)


def test_rows_hold_rounds_against_the_run_beside_them() -> None:
    """The ratio is of each round's own pair; a slow machine in one round slows both down."""
    fast, slow = Play((stream(0.0, 1.0, 2.0),)), Play((stream(0.0, 2.0, 4.0),))
    found = row([Turn(fast, 2.0), Turn(slow, 1.0)])
    assert found.clients == 1
    assert found.ratio.mean == pytest.approx(0.5)
    assert found.ratio.low == pytest.approx(found.ratio.high)
    assert (found.first_p50_s, found.first_max_s) == (1.5, 2.0)
    assert "a stream, images/s" in table([found], "images")
    assert "0.500 [0.500, 0.500]" in table([found], "images")


def test_each_round_begins_with_another_number_and_every_other_one_in_process() -> None:
    """Both sides of a turn are asked the same; the first round, which warms up, counts nowhere."""
    order: list[tuple[str, int]] = []

    def asked(clients: int) -> list[Tensors]:
        return [{"number": np.array([len(order)])} for _ in range(clients)]

    def served(requests: Sequence[Tensors]) -> Play:
        order.append(("served", len(requests)))
        return Play(tuple(stream(0.0, float(request["number"][0]), 99.0) for request in requests))

    def own(requests: Sequence[Tensors]) -> float:
        order.append(("own", len(requests)))
        return float(requests[0]["number"][0])

    found = turns([1, 8], asked, served, own, 2)
    warm_up = [("served", 1), ("own", 1), ("served", 8), ("own", 8)]
    assert order == [*warm_up, ("own", 8), ("served", 8), ("own", 1), ("served", 1), *warm_up]
    assert [[len(turn.served.streams) for turn in each] for each in found] == [[1, 1], [8, 8]]
    assert [[turn.own for turn in each] for each in found] == [[6.0, 8.0], [4.0, 10.0]]
    assert all(turn.served.streams[0].first_s == turn.own for each in found for turn in each)


@pytest.mark.parametrize("name", ["chat", "image_generator"])
def test_no_two_requests_ask_for_the_same(name: str) -> None:
    """What a cache knows of the last round is no help in the next; the size is what was asked for."""
    system = SYSTEMS[name]
    first, second = system.request(1, 5), system.request(2, 5)
    assert any((first[tensor] != second[tensor]).any() for tensor in first)
    assert all((first[tensor] == system.request(1, 5)[tensor]).all() for tensor in first)


def test_an_answer_has_as_many_tokens_as_asked_for() -> None:
    """Whatever the model says: the end of the text does not end it, and a response says how many tokens it holds."""
    system = SYSTEMS["chat"]
    sampling = json.loads(system.request(1, 33)["sampling_parameters"][0])
    assert (sampling["max_tokens"], sampling["ignore_eos"]) == (33, True)
    assert system.count({"num_output_tokens": np.array([3], np.uint32)}) == 3
