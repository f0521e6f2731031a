"""Servers measured beside each other in rounds: the figures, and how they read."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from measure.intervals import Interval, mean_interval, ratio_interval
from measure.load_generator import Round

PERCENTILES = (50, 99)


@dataclass(frozen=True)
class Sample:
    """One contender's part of a round.

    Attributes:
        client: the load generator's side.
        server_cpu_seconds: of all the server's processes.
    """

    client: Round
    server_cpu_seconds: float


@dataclass(frozen=True)
class Row:
    """What was measured of one contender.

    Attributes:
        name: of the contender.
        throughput: requests a second.
        ratio: of that to the yardstick's in the same round.
        p50_ms: of all rounds' answers together.
        p99_ms: likewise.
        p99_ratio: of a round's p99 to the yardstick's in the same round.
        server_ms: CPU milliseconds a request, of the server.
        client_ms: the same of the load generator.
        cosine: the worst of its vectors against the yardstick's.
    """

    name: str
    throughput: Interval
    ratio: Interval
    p50_ms: float
    p99_ms: float
    p99_ratio: Interval
    server_ms: float
    client_ms: float
    cosine: float


@dataclass(frozen=True)
class Comparison:
    """All contenders at one length of text.

    Attributes:
        tokens: of each text, special ones not counted.
        yardstick: the fastest of the peers.
        rows: in the order of measurement.
    """

    tokens: int
    yardstick: str
    rows: list[Row]


def compare(
    tokens: int, samples: Mapping[str, Sequence[Sample]], peers: Sequence[str], cosines: Mapping[str, float]
) -> Comparison:
    """The figures of all rounds.

    Args:
        tokens: the length of the texts.
        samples: each contender's, in the order of the rounds.
        peers: who may be the yardstick.
        cosines: each contender's worst.
    """
    yardstick = max(peers, key=lambda name: statistics.mean(each.client.throughput for each in samples[name]))
    rows = [_row(name, found, samples[yardstick], cosines[name]) for name, found in samples.items()]
    return Comparison(tokens, yardstick, rows)


def _row(name: str, found: Sequence[Sample], yardstick: Sequence[Sample], cosine: float) -> Row:
    latencies = [latency for each in found for latency in each.client.latencies_s]
    p50, p99 = (1000 * float(value) for value in np.percentile(latencies, PERCENTILES))
    requests = sum(each.client.requests for each in found)
    pairs = [*zip(found, yardstick, strict=True)]
    return Row(
        name=name,
        throughput=mean_interval([each.client.throughput for each in found]),
        ratio=ratio_interval([own.client.throughput / other.client.throughput for own, other in pairs]),
        p50_ms=p50,
        p99_ms=p99,
        p99_ratio=ratio_interval([tail(own.client) / tail(other.client) for own, other in pairs]),
        server_ms=1000 * sum(each.server_cpu_seconds for each in found) / requests,
        client_ms=1000 * sum(each.client.cpu_seconds for each in found) / requests,
        cosine=cosine,
    )


def tail(played: Round) -> float:
    """The p99 of a round, in seconds."""
    return float(np.percentile(played.latencies_s, PERCENTILES[1]))


def table(comparison: Comparison) -> str:
    """A comparison as people read it."""
    width = max(len(row.name) for row in comparison.rows)
    columns = f"{'req/s':>9}  {'x':22}{'p50 ms':>8}{'p99 ms':>8}  {'p99 x':22}{'server':>8}{'client':>8}{'cosine':>10}"
    head = (
        f"{comparison.tokens} tokens; x and p99 x: against {comparison.yardstick}; server, client: CPU ms a request\n"
        f"{'':{width}}{columns}"
    )
    return "\n".join([head, *(_line(row, width) for row in comparison.rows)])


def _line(row: Row, width: int) -> str:
    return (
        f"{row.name:{width}}{row.throughput.mean:9.1f}  {row.ratio!s:22}{row.p50_ms:8.1f}{row.p99_ms:8.1f}  "
        f"{row.p99_ratio!s:22}{row.server_ms:8.2f}{row.client_ms:8.2f}{row.cosine:10.6f}"
    )


def verdict(row: Row, limit: float) -> str:
    """Whether a contender is so many times as fast as the yardstick at no worse p99, as far as the intervals tell."""
    if row.ratio.low >= limit and row.p99_ratio.low <= 1:
        return "held"
    missed = row.ratio.high < limit or row.p99_ratio.low > 1
    return "missed" if missed else "undecided: more rounds, or a quieter machine, would tell"
