"""One row of the result: a model at one concurrency, and how far its numbers can be trusted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from modelyard_ops.perf.plan import WINDOWS, Plan
from modelyard_ops.perf.report import Latency, ModelTimes, Report, Window, request_errors

Status = Literal["stable", "unstable", "failed", "interrupted"]

# The 99th percentile of fewer values than this is their maximum, or next to it.
ENOUGH_FOR_P99 = 100


@dataclass(frozen=True)
class Measurement:
    """A model at one concurrency.

    Attributes:
        model: the model measured.
        version: its version on the server.
        protocol: "grpc" or "http".
        batch_size: items in a request.
        concurrency: requests kept in flight.
        status: "stable"; "unstable": throughput or average latency of the three windows differ by more than was
            allowed; "failed": perf_analyzer gave no report, `reason` says why; "interrupted".
        reason: for a failed measurement, why; else None.
        throughput: inferences a second; of an interrupted measurement the mean of its windows so far.
        requests: requests in the three windows.
        latency: None where there is no report.
        server: the model's statistics on the server; None where there is no report.
        composing: the same for every model that an ensemble calls.
        errors: requests that failed. perf_analyzer stops at the first window that saw one.
        windows: the windows that the numbers were merged from, oldest first.
        attempts: how many times three windows were measured; the numbers are the last attempt's.
        warnings: what to know before believing the numbers.
    """

    model: str
    version: str
    protocol: str
    batch_size: int
    concurrency: int
    status: Status
    reason: str | None = None
    throughput: float | None = None
    requests: int = 0
    latency: Latency | None = None
    server: ModelTimes | None = None
    composing: tuple[ModelTimes, ...] = ()
    errors: int = 0
    windows: tuple[Window, ...] = ()
    attempts: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def spread_percent(self) -> float | None:
        """By how much the windows differ, in percent: the worse of throughput and average latency."""
        return 100 * (worst_ratio(self.windows) - 1) if len(self.windows) >= WINDOWS else None


def worst_ratio(windows: Sequence[Window]) -> float:
    """The largest value over the smallest, of the windows' throughputs or average latencies, whichever is worse."""
    throughputs = [window.throughput for window in windows]
    latencies = [window.latency_avg_ms for window in windows]
    return max(max(throughputs) / min(throughputs), max(latencies) / min(latencies))


def is_stable(windows: Sequence[Window], stability_percent: float) -> bool:
    """perf_analyzer's own judgement: the last three windows' max / min is at most 1 + stability_percent / 100.

    Both for throughput and for average latency (IsInferWindowStable and IsLatencyWindowStable in
    inference_profiler.cc); fewer than three windows are never stable.
    """
    return len(windows) >= WINDOWS and worst_ratio(windows[-WINDOWS:]) <= 1 + stability_percent / 100


def from_report(plan: Plan, version: str, concurrency: int, attempts: int, report: Report) -> Measurement:
    """The measurement of a run that ended in a report.

    Raises:
        ValueError: it ended without one; `failed` makes the row then.
    """
    client = report.client
    if client is None:
        raise ValueError("this run of perf_analyzer ended without a report")
    return replace(
        _empty(plan, version, concurrency, attempts),
        status="stable" if is_stable(report.windows, plan.stability_percent) else "unstable",
        throughput=client.throughput,
        requests=client.requests,
        latency=client.latency,
        server=report.server,
        composing=report.composing,
        windows=report.windows[-WINDOWS:],
        warnings=tuple(_warnings(report)),
    )


def failed(
    plan: Plan, version: str, concurrency: int, attempts: int, windows: tuple[Window, ...], stderr: str
) -> Measurement:
    """The measurement of a run that ended without a report; what perf_analyzer wrote on stderr says why."""
    errors = request_errors(stderr)
    return replace(
        _empty(plan, version, concurrency, attempts),
        reason=_reason(plan, stderr, errors),
        errors=len(errors),
        windows=windows,
    )


def interrupted(
    plan: Plan, version: str, concurrency: int, attempts: int, windows: tuple[Window, ...]
) -> Measurement | None:
    """What the windows before an interruption tell; None where no window was complete."""
    if not windows:
        return None
    return replace(
        _empty(plan, version, concurrency, attempts),
        status="interrupted",
        throughput=sum(window.throughput for window in windows) / len(windows),
        windows=windows,
    )


def _empty(plan: Plan, version: str, concurrency: int, attempts: int) -> Measurement:
    """What every measurement says, whatever came of it."""
    return Measurement(
        model=plan.model,
        version=version,
        protocol=plan.protocol,
        batch_size=plan.batch_size,
        concurrency=concurrency,
        status="failed",
        attempts=attempts,
    )


def _reason(plan: Plan, stderr: str, errors: Sequence[str]) -> str:
    if errors:
        return f"a request failed: {errors[0]}"
    if "No valid requests recorded" in stderr:
        interval = f"{plan.interval_ms} ms"
        return f"no request was answered within a window of {interval}; give a longer --measurement-interval"
    lines = [line.strip().removeprefix("error: ") for line in stderr.splitlines() if line.strip()]
    return " ".join(lines) or "perf_analyzer ended without a report and without a word"


def _warnings(report: Report) -> list[str]:
    warnings = list(report.warnings)
    if report.client and report.client.requests < ENOUGH_FOR_P99:
        warnings.append(f"p99 of {report.client.requests} requests is hardly more than their maximum")
    for times in (report.server, *report.composing):
        if times and times.cache_hits:
            hits = f"{times.cache_hits} of {times.requests} requests of {times.model}"
            warnings.append(f"{hits} came out of the response cache: the same samples are sent again and again")
    return warnings
