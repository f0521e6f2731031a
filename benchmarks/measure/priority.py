"""Urgent requests among many routine ones: how long each waits, with priority levels and without."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from measure.generator import Generator
from measure.intervals import Interval, ratio_interval
from measure.load_generator import Order, Round
from modelyard_build.repository.model_config import model_config_pb2

# Until the queues are as long as they get.
RAMP_S = 1.5


def first_come_first_served(config: model_config_pb2.ModelConfig) -> None:
    """Takes the priority levels away, and nothing else."""
    for field in ("priority_levels", "default_priority_level", "priority_queue_policy"):
        config.dynamic_batching.ClearField(field)


@dataclass(frozen=True)
class Shared:
    """A round in which both kinds were sent.

    Attributes:
        urgent: what became of the urgent ones.
        routine: what became of the others.
    """

    urgent: Round
    routine: Round

    @property
    def throughput(self) -> float:
        """Requests a second of both kinds."""
        return self.routine.throughput + self.urgent.throughput


def share(urgent: Generator, urgent_order: Order, routine: Generator, routine_order: Order) -> Shared:
    """Routine requests, and urgent ones among them from when the queues are full; the orders' lengths fit."""
    with ThreadPoolExecutor(1) as thread:
        load = thread.submit(routine.play, routine_order)
        time.sleep(RAMP_S)
        found = urgent.play(urgent_order)
        return Shared(found, load.result())


@dataclass(frozen=True)
class Turn:
    """One round.

    Attributes:
        priorities: with the priority levels of the configs.
        plain: the same load, first come, first served.
        alone: the urgent requests, without the others.
    """

    priorities: Shared
    plain: Shared
    alone: Round


@dataclass(frozen=True)
class Latencies:
    """Of all rounds, in milliseconds."""

    p50: float
    p99: float
    count: int


@dataclass(frozen=True)
class Report:
    """What was measured of one system.

    Attributes:
        system: its name.
        latencies: by who was asked and what for.
        throughput: requests a second of both kinds, the mean, with the levels and without.
        sooner: p99 of urgent requests without levels to that with them.
        before_routine: p99 of routine requests to that of urgent ones, with levels.
        over_limit: p99 of urgent requests with levels to that of urgent requests alone.
        kept: throughput with levels to that without.
    """

    system: str
    latencies: dict[str, Latencies]
    throughput: tuple[float, float]
    sooner: Interval
    before_routine: Interval
    over_limit: Interval
    kept: Interval


def report(system: str, turns: Sequence[Turn]) -> Report:
    """The figures of all rounds; each ratio is of one round's own pair."""
    rounds = {
        "urgent, with levels": [turn.priorities.urgent for turn in turns],
        "routine, with levels": [turn.priorities.routine for turn in turns],
        "urgent, first come first served": [turn.plain.urgent for turn in turns],
        "routine, first come first served": [turn.plain.routine for turn in turns],
        "urgent alone": [turn.alone for turn in turns],
    }
    with_levels, plain = ([getattr(turn, name).throughput for turn in turns] for name in ("priorities", "plain"))
    return Report(
        system=system,
        latencies={name: _latencies(each) for name, each in rounds.items()},
        throughput=(float(np.mean(with_levels)), float(np.mean(plain))),
        sooner=_ratio(rounds["urgent, first come first served"], rounds["urgent, with levels"]),
        before_routine=_ratio(rounds["routine, with levels"], rounds["urgent, with levels"]),
        over_limit=_ratio(rounds["urgent, with levels"], rounds["urgent alone"]),
        kept=ratio_interval([one / other for one, other in zip(with_levels, plain, strict=True)]),
    )


def _latencies(rounds: Sequence[Round]) -> Latencies:
    every = [latency for each in rounds for latency in each.latencies_s]
    p50, p99 = (1000 * float(value) for value in np.percentile(every, (50, 99)))
    return Latencies(p50, p99, len(every))


def _ratio(over: Sequence[Round], under: Sequence[Round]) -> Interval:
    pairs = zip(over, under, strict=True)
    return ratio_interval([_latencies([one]).p99 / _latencies([other]).p99 for one, other in pairs])


def show(found: Report) -> str:
    """As people read it."""
    rows = [f"  {name:34}{each.p50:9.0f}{each.p99:9.0f}{each.count:9}" for name, each in found.latencies.items()]
    return "\n".join(
        [
            f"{found.system}: {found.throughput[0]:.1f} requests/s with levels, {found.throughput[1]:.1f} without",
            f"  {'':34}{'p50 ms':>9}{'p99 ms':>9}{'requests':>9}",
            *rows,
            f"  p99 of urgent ones: first come first served / with levels   {found.sooner}",
            f"  p99 with levels: routine / urgent                           {found.before_routine}",
            f"  p99 of urgent ones: with levels / alone                     {found.over_limit}",
            f"  throughput: with levels / first come first served           {found.kept}",
        ]
    )
