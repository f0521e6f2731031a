"""Servers beside each other: who is the yardstick, what the ratios are of, how verdicts fall."""

from __future__ import annotations

import pytest

from measure.comparison import Row, Sample, compare, table, verdict
from measure.intervals import Interval
from measure.load_generator import Round


def sample(throughput: float, latency_s: float = 0.1, cpu: float = 4.0) -> Sample:
    """A round of 100 requests."""
    return Sample(Round(throughput, [latency_s] * 100, requests=100, seconds=5.0, cpu_seconds=0.5), cpu)


def row(ratio: tuple[float, float], p99: tuple[float, float]) -> Row:
    """A row with these intervals."""
    return Row("ours", Interval(1, 1, 1), Interval(1, *ratio), 1, 1, Interval(1, *p99), 1, 1, 1)


def test_the_yardstick_is_the_fastest_peer() -> None:
    """Ours is no peer, however fast; ratios are of the same round."""
    samples = {
        "ours": [sample(200), sample(300)],
        "slow": [sample(50), sample(50)],
        "fast": [sample(100, 0.2), sample(150, 0.2)],
    }
    found = compare(30, samples, ["slow", "fast"], dict.fromkeys(samples, 1.0))
    assert found.yardstick == "fast"
    ours = found.rows[0]
    assert ours.ratio.mean == pytest.approx(2)
    assert ours.ratio.low == pytest.approx(ours.ratio.high)
    assert ours.p99_ratio.mean == pytest.approx(0.5)
    assert (ours.p50_ms, ours.p99_ms) == pytest.approx((100, 100))
    assert (ours.server_ms, ours.client_ms) == pytest.approx((40, 5))
    text = table(found)
    assert "against fast" in text
    assert all(name in text for name in samples)


@pytest.mark.parametrize(
    ("ratio", "p99", "words"),
    [
        ((2.1, 2.3), (0.4, 0.6), "held"),
        ((1.8, 1.9), (0.4, 0.6), "missed"),
        ((2.1, 2.3), (1.1, 1.3), "missed"),
        ((1.9, 2.1), (0.4, 0.6), "undecided"),
    ],
)
def test_twice_as_fast_at_a_worse_tail_is_missed(
    ratio: tuple[float, float], p99: tuple[float, float], words: str
) -> None:
    """Both intervals count, and one that crosses the limit decides nothing."""
    assert verdict(row(ratio, p99), 2.0).startswith(words)
