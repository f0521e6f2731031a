"""What was measured of served against in process: the figures, and how they read."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from measure.in_process import Speed
from measure.intervals import Interval, mean_interval, ratio_interval
from measure.load_generator import Round

LIMIT = 0.97


@dataclass(frozen=True)
class Work:
    """What a model did on the server.

    Attributes:
        inferences: Rows.
        runs: Batches.
        seconds: That they took, queues apart.
    """

    inferences: float
    runs: float
    seconds: float

    def since(self, before: Work) -> Work:
        """What came after an earlier reading."""
        return Work(self.inferences - before.inferences, self.runs - before.runs, self.seconds - before.seconds)


@dataclass(frozen=True)
class Load:
    """A round of load, and what it cost the server.

    Attributes:
        client: The load generator's side.
        server_cpu_seconds: Of Triton and its instances.
        work: Of each model.
    """

    client: Round
    server_cpu_seconds: float
    work: Mapping[str, Work]

    def batch(self, model: str) -> float:
        """The mean batch that Triton formed."""
        return self.work[model].inferences / self.work[model].runs


@dataclass(frozen=True)
class Pair:
    """Rounds taken right after one another.

    Attributes:
        load: The served round at saturation.
        full_batches: In process, in batches of max_batch_size.
        same_batches: In process, in batches as Triton formed them.
        added_latency_s: Served less in process, one request under way.
    """

    load: Load
    full_batches: Speed
    same_batches: Speed
    added_latency_s: float


@dataclass(frozen=True)
class Result:
    """What was measured for one length of text.

    Attributes:
        tokens: The length.
        served: Requests a second.
        raw: Ratio of throughputs.
        less_load: Ratio with the load generator's share of the cores granted.
        same_batch: That ratio, with the batches that Triton formed.
        batch: The mean batch that Triton formed.
        client_ms: CPU milliseconds a request, of the load generator.
        server_ms: CPU milliseconds a request, of Triton and its instances.
        own_ms: CPU milliseconds a row in process, in batches of max_batch_size.
        busy: The share of the cores in use in served rounds.
        added_latency_ms: At one request under way.
    """

    tokens: int
    served: Interval
    raw: Interval
    less_load: Interval
    same_batch: Interval
    batch: float
    client_ms: float
    server_ms: float
    own_ms: float
    busy: float
    added_latency_ms: Interval


def cores_left(load: Load, cores: int) -> float:
    """The share of the cores that the load generator left."""
    return 1 - load.client.cpu_seconds / (cores * load.client.seconds)


def summary(model: str, tokens: int, pairs: Sequence[Pair], cores: int) -> Result:
    """The figures of all pairs, of the model that was loaded."""
    served = [pair.load.client.throughput for pair in pairs]
    left = [cores_left(pair.load, cores) for pair in pairs]
    full = [pair.full_batches.rows for pair in pairs]
    same = [pair.same_batches.rows for pair in pairs]
    requests = sum(pair.load.client.requests for pair in pairs)
    client_cpu = sum(pair.load.client.cpu_seconds for pair in pairs)
    server_cpu = sum(pair.load.server_cpu_seconds for pair in pairs)
    return Result(
        tokens=tokens,
        served=mean_interval(served),
        raw=ratio_interval([mine / own for mine, own in zip(served, full, strict=True)]),
        less_load=ratio_interval([mine / own / share for mine, own, share in zip(served, full, left, strict=True)]),
        same_batch=ratio_interval([mine / own / share for mine, own, share in zip(served, same, left, strict=True)]),
        batch=statistics.mean(pair.load.batch(model) for pair in pairs),
        client_ms=1000 * client_cpu / requests,
        server_ms=1000 * server_cpu / requests,
        own_ms=1000 * statistics.mean(pair.full_batches.cpu_seconds for pair in pairs),
        busy=(client_cpu + server_cpu) / (cores * sum(pair.load.client.seconds for pair in pairs)),
        added_latency_ms=mean_interval([pair.added_latency_s for pair in pairs]).scaled(1000),
    )


def show(result: Result) -> str:
    """A result as people read it."""
    return "\n".join(
        [
            f"{result.tokens} tokens: {result.served.mean:.1f} requests/s served, mean batch {result.batch:.1f}, "
            f"{result.busy:.0%} of the cores busy",
            f"  throughput served / in process   raw {result.raw}   less load {result.less_load}   "
            f"same batch {result.same_batch}",
            f"  CPU a request                    in process {result.own_ms:.2f} ms, served {result.server_ms:.2f} ms, "
            f"load generator {result.client_ms:.2f} ms",
            f"  added latency, one under way     {result.added_latency_ms} ms",
            f"  less load at least {LIMIT}          {verdict(result)}",
        ]
    )


def verdict(result: Result) -> str:
    """Whether the limit is held, as far as the interval tells."""
    if result.less_load.low >= LIMIT:
        return "held"
    return "missed" if result.less_load.high < LIMIT else "undecided: more pairs, or a quieter machine, would tell"
