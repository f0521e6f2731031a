"""What is measured, and the perf_analyzer command lines that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelyard_ops.errors import OpsError

Protocol = Literal["grpc", "http"]

DEFAULT_URL: dict[Protocol, str] = {"grpc": "127.0.0.1:8001", "http": "127.0.0.1:8000"}

# perf_analyzer judges and merges its last three measurement windows (`stability_window` in inference_profiler.cc).
WINDOWS = 3
# It sleeps 1.2 times the measurement interval a window (`Measure` in inference_profiler.cc).
WINDOW_STRETCH = 1.2
# perf_analyzer prints no numbers at all for a run that it finds unstable. With a bound that every run meets it always
# prints them, and `measurement.is_stable` judges the same windows by the bound that was asked for.
ACCEPT_ANY_PERCENT = 1_000_000
# Every synchronous concurrency is a thread and a connection of perf_analyzer.
MAX_CONCURRENCY = 1024
# Connecting, and the requests still in flight when the last window ends.
GRACE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """One model measured at several concurrencies.

    Attributes:
        model: the model's name on the server.
        url: host:port, of the gRPC or the HTTP endpoint as `protocol` says.
        protocol: which of Triton's two protocols carries the requests.
        concurrencies: how many requests are kept in flight, one measurement each.
        batch_size: items in a request; 1 also for a model without a batch dimension.
        interval_ms: length of a measurement window in milliseconds; perf_analyzer stretches it by 1.2.
        stability_percent: throughput and average latency of three windows may differ by this much.
        attempts: how many times three windows are measured while they differ by more.
        version: the model's version; None leaves the choice to the server.

    Raises:
        OpsError: a value that perf_analyzer cannot run.
    """

    model: str
    url: str = DEFAULT_URL["grpc"]
    protocol: Protocol = "grpc"
    concurrencies: tuple[int, ...] = (1, 4, 16)
    batch_size: int = 1
    interval_ms: int = 2000
    stability_percent: float = 10.0
    attempts: int = 3
    version: str | None = None

    def __post_init__(self) -> None:
        if not self.concurrencies:
            raise OpsError("no concurrency to measure at: give at least one, such as --concurrency 1,4,16.")
        for concurrency in self.concurrencies:
            if not 1 <= concurrency <= MAX_CONCURRENCY:
                raise OpsError(f"concurrency {concurrency} is not between 1 and {MAX_CONCURRENCY}.")
        for name, value in (
            ("batch size", self.batch_size),
            ("measurement interval", self.interval_ms),
            ("number of attempts", self.attempts),
            ("stability percentage", self.stability_percent),
        ):
            if value <= 0:
                raise OpsError(f"the {name} is {value:g}; it must be greater than 0.")
        if "://" in self.url:
            raise OpsError(f"the URL {self.url!r} has a scheme; give host:port alone, such as {DEFAULT_URL['grpc']}.")

    @property
    def limit_s(self) -> float:
        """Seconds after which one run of perf_analyzer is hung, and is killed."""
        return (WINDOWS + 2) * WINDOW_STRETCH * self.interval_ms / 1000 + GRACE_S


def command(plan: Plan, concurrency: int, executable: Path, input_data: Path) -> list[str]:
    """The command line of one run: three windows at one concurrency.

    Synchronous on purpose: a thread a request in flight. In asynchronous mode perf_analyzer drops the latency from its
    judgement, and one error stands for a whole thread's requests.
    """
    line = [str(executable), "-v", "-m", plan.model, "-u", plan.url, "-i", plan.protocol]
    if plan.version is not None:
        line += ["-x", plan.version]
    line += ["-b", str(plan.batch_size), "--input-data", str(input_data)]
    # With an explicit end the number of threads follows the concurrency; without one it stops at 16.
    line += ["--concurrency-range", f"{concurrency}:{concurrency}:1"]
    line += ["--measurement-interval", str(plan.interval_ms)]
    line += ["--max-trials", str(WINDOWS), "--stability-percentage", str(ACCEPT_ANY_PERCENT)]
    return line
