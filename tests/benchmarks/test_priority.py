"""Urgent among routine requests: the figures, and that the plain configs differ in the priorities alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from measure.load_generator import Round
from measure.priority import Shared, Turn, first_come_first_served, report, show
from modelyard_build.models import find
from modelyard_build.repository import config
from modelyard_build.repository.model_config import ModelConfig


def played(latency_s: float, throughput: float = 10.0) -> Round:
    """So many answers, all after the same time."""
    return Round(throughput, [latency_s] * 50, requests=50, seconds=5.0, cpu_seconds=0.1)


def test_ratios_are_of_each_rounds_own_pair() -> None:
    """A slow machine in one round slows all of its parts down, and no ratio."""
    turns = [
        Turn(
            priorities=Shared(played(0.2 * slow, 2 / slow), played(4 * slow, 18 / slow)),
            plain=Shared(played(4 * slow, 2 / slow), played(4 * slow, 23 / slow)),
            alone=played(0.1 * slow),
        )
        for slow in (1, 3)
    ]
    found = report("imaging_triage", turns)
    assert found.sooner.mean == found.before_routine.mean == pytest.approx(20)
    assert (found.over_limit.mean, found.kept.mean) == pytest.approx((2, 0.8))
    assert found.over_limit.low == pytest.approx(found.over_limit.high)
    assert found.latencies["urgent alone"].p99 == pytest.approx(300)
    assert found.latencies["urgent, with levels"].count == 100
    assert "routine / urgent" in show(found)


def test_the_plain_config_differs_in_its_priorities_alone() -> None:
    """What is compared is the queue, not its lengths or the batches."""
    message = config.stated_in(Path("config.pbtxt"), config.render(find("imaging_triage_net"))).bound.message
    plain = ModelConfig()
    plain.CopyFrom(message)
    first_come_first_served(plain)
    assert (plain.dynamic_batching.priority_levels, len(plain.dynamic_batching.priority_queue_policy)) == (0, 0)
    for field in ("priority_levels", "default_priority_level"):
        setattr(plain.dynamic_batching, field, getattr(message.dynamic_batching, field))
    for level, policy in message.dynamic_batching.priority_queue_policy.items():
        plain.dynamic_batching.priority_queue_policy[level].CopyFrom(policy)
    assert plain == message
