"""The figures of the benchmarks: intervals, shares and verdicts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from measure.in_process import Speed
from measure.intervals import Interval, mean_interval, ratio_interval
from measure.load_generator import Call, Order, Round, due_times, play, play_open, steady_throughput, turns_of
from measure.overhead import Load, Pair, Work, cores_left, show, summary, verdict


def pair(served: float, own: float, *, client_cpu: float = 0.0, same: float | None = None) -> Pair:
    """A pair with a round of 10 s."""
    client = Round(served, latencies_s=[0.1], requests=100, seconds=10.0, cpu_seconds=client_cpu)
    load = Load(client, server_cpu_seconds=8.0, work={"m": Work(inferences=160, runs=10, seconds=1.0)})
    return Pair(load, Speed(own, 0.1), Speed(own if same is None else same, 0.1), added_latency_s=0.001)


def test_the_interval_is_students() -> None:
    """Against the textbook: mean 2, standard deviation 1, n = 3, t = 4.303."""
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == pytest.approx(2)
    assert (interval.low, interval.high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), rel=1e-4)


def test_ratios_are_averaged_as_ratios() -> None:
    """Twice and half are one on average, and the limits lie at equal ratios."""
    interval = ratio_interval([2.0, 0.5])
    assert interval.mean == pytest.approx(1)
    assert interval.low * interval.high == pytest.approx(1)


def test_the_load_generators_cores_are_granted() -> None:
    """It used 2 of 20 core seconds: in process is granted nine tenths."""
    assert cores_left(pair(90, 100, client_cpu=2.0).load, cores=2) == pytest.approx(0.9)
    result = summary("m", 32, [pair(90, 100, client_cpu=2.0)] * 3, cores=2)
    assert result.raw.mean == pytest.approx(0.9)
    assert result.less_load.mean == pytest.approx(1.0)
    assert result.busy == pytest.approx((2 + 8) / 20)
    assert (result.client_ms, result.server_ms, result.own_ms) == pytest.approx((20, 80, 100))


def test_the_batch_that_triton_formed_is_compared_too() -> None:
    """The same served throughput, beside a slower run in process."""
    result = summary("m", 32, [pair(90, 100, same=95)] * 2, cores=2)
    assert result.less_load.mean == pytest.approx(0.9)
    assert result.same_batch.mean == pytest.approx(90 / 95)


@pytest.mark.parametrize(
    ("served", "words"), [([98, 99, 98.5], "held"), ([90, 91, 90.5], "missed"), ([90, 105, 97], "undecided")]
)
def test_the_verdict_is_the_intervals(served: list[float], words: str) -> None:
    """Held or missed only where the whole interval is on one side of the limit; the table says which."""
    result = summary("m", 32, [pair(each, 100) for each in served], cores=2)
    assert verdict(result).startswith(words)
    assert words in show(result)


def test_scaling_changes_the_unit() -> None:
    """All three figures."""
    assert Interval(1, 0.5, 2).scaled(1000) == Interval(1000, 500, 2000)


@pytest.mark.parametrize("bursts", [2, 3, 50])
def test_throughput_is_not_quantised_by_the_servers_batches(bursts: int) -> None:
    """Four loops answered together every 20 ms are 200 a second, however few bursts were seen."""
    loop = [0.0, *(0.013 + 0.02 * number for number in range(bursts))]
    assert steady_throughput([loop] * 4) == pytest.approx(200)


def test_the_load_generator_keeps_its_requests_under_way() -> None:
    """A call starts when the one before it in its loop was answered: never more, and never fewer."""
    under_way, seen = 0, set()

    async def answer(_: bytes) -> bytes:
        nonlocal under_way
        under_way += 1
        await asyncio.sleep(0.005)
        seen.add(under_way)
        under_way -= 1
        return b""

    async def connect() -> Call:
        return answer

    played = asyncio.run(play(connect, [[b""]] * 3, seconds=0.05))
    assert max(seen) == 3
    assert played.requests >= 3 * 2


def test_requests_that_are_due_wait_for_nobody() -> None:
    """All are sent, and each latency counts from when its request was due, also where the server stalls."""
    asked = 0

    async def stalls_once(_: bytes) -> bytes:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.3 if asked == 1 else 0)
        return b""

    played = asyncio.run(play_open(stalls_once, [b""], rate=50, seconds=0.2))
    assert played.requests == asked == len(due_times(50, 0.2)) > 2
    assert max(played.latencies_s) >= 0.3
    assert sorted(played.latencies_s)[1] < 0.1


def test_requests_come_at_their_rate() -> None:
    """And always at the same moments: what is compared sees one load."""
    times = due_times(100, 20)
    assert len(times) == pytest.approx(2000, rel=0.1)
    assert times == due_times(100, 20) == sorted(times)


def test_each_loop_begins_with_another_request_or_has_an_ending_of_its_own() -> None:
    """With endings all loops go through the requests from the first on: they are sequences."""
    order = Order("grpc", "", [], concurrency=2, seconds=1)
    assert turns_of(order, [b"a", b"b"]) == [[b"a", b"b"], [b"b", b"a"]]
    assert turns_of(replace(order, endings=["01", "02"]), [b"a", b"b"]) == [[b"a\1", b"b\1"], [b"a\2", b"b\2"]]
