"""Measures a model at every concurrency of a plan."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard_ops.perf import analyzer, measurement, samples
from modelyard_ops.perf.measurement import Measurement
from modelyard_ops.perf.plan import Plan, command
from modelyard_ops.perf.report import Window, parse, parse_window
from modelyard_ops.perf.samples import Sample
from modelyard_ops.perf.server import served_model
from modelyard_server.install import PerfAnalyzer


@dataclass(frozen=True)
class Progress:
    """Where a measurement stands: at `concurrency`, in attempt `attempt` (from 1), with these windows complete."""

    concurrency: int
    attempt: int
    windows: tuple[Window, ...]


class MeasuringInterrupted(KeyboardInterrupt):
    """Ctrl-C during a measurement; `measurements` holds what was measured before it."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        super().__init__("measuring was interrupted")
        self.measurements = list(measurements)


def measure(
    plan: Plan,
    inputs: Sequence[Sample],
    perf_analyzer: PerfAnalyzer,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Measurement]:
    """Measures a served model at every concurrency of the plan, one after the other.

    A measurement that fails is a row like the others, with status "failed" and its reason; the rest go on.

    Args:
        plan: what to measure.
        inputs: real inputs; they are sent over and over in their order.
        perf_analyzer: as `modelyard_server.install.install_perf_analyzer` gives it.
        on_progress: called at the start of every attempt and after every window.

    Raises:
        OpsError: nobody answers at the plan's URL, the model is not ready, the inputs are not its inputs, or
            perf_analyzer does not run on this machine.
        MeasuringInterrupted: Ctrl-C; it carries the rows so far.
    """
    served = served_model(plan)
    samples.check_names(inputs, served.inputs)
    sent = samples.batchable(inputs, plan.batch_size)
    notes = _left_out(inputs, sent)
    rows: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="modelyard-perf-") as folder:
        data = Path(folder, "samples.json")
        data.write_text(samples.document(sent), encoding="utf-8")
        for concurrency in plan.concurrencies:
            run = _Run(plan, served.version, concurrency, perf_analyzer, data, on_progress)
            try:
                rows.append(_with_notes(run.measure(), notes))
            except KeyboardInterrupt:
                unfinished = run.so_far()
                rows += [_with_notes(unfinished, notes)] if unfinished else []
                raise MeasuringInterrupted(rows) from None
    return rows


def _with_notes(row: Measurement, notes: Sequence[str]) -> Measurement:
    return replace(row, warnings=(*row.warnings, *notes))


def _left_out(inputs: Sequence[Sample], sent: Sequence[Sample]) -> list[str]:
    if len(sent) == len(inputs):
        return []
    return [f"only {len(sent)} of {len(inputs)} samples were sent: perf_analyzer batches samples of one shape alone"]


@dataclass
class _Run:
    """One concurrency: up to `plan.attempts` runs of perf_analyzer, until one is stable."""

    plan: Plan
    version: str
    concurrency: int
    perf_analyzer: PerfAnalyzer
    data: Path
    on_progress: Callable[[Progress], None]
    attempt: int = 0
    windows: tuple[Window, ...] = ()
    complete: Measurement | None = None

    def measure(self) -> Measurement:
        self.complete = self._attempt()
        while self.complete.status == "unstable" and self.attempt < self.plan.attempts:
            self.complete = self._attempt()
        return self.complete

    def so_far(self) -> Measurement | None:
        """What an interruption leaves: the last complete attempt, or else the windows of the first."""
        return self.complete or measurement.interrupted(*self._subject(), self.windows)

    def _subject(self) -> tuple[Plan, str, int, int]:
        return self.plan, self.version, self.concurrency, self.attempt

    def _attempt(self) -> Measurement:
        self.attempt += 1
        self.windows = ()
        self._report_progress()
        line = command(self.plan, self.concurrency, self.perf_analyzer.executable, self.data)
        output = analyzer.run(line, self.perf_analyzer.library_path, self.plan.limit_s, self._see_line)
        report = parse(output.stdout, self.plan.model)
        if report.client is None:
            return measurement.failed(*self._subject(), report.windows, output.stderr)
        return measurement.from_report(*self._subject(), report)

    def _see_line(self, line: str) -> None:
        window = parse_window(line)
        if window:
            self.windows += (window,)
            self._report_progress()

    def _report_progress(self) -> None:
        self.on_progress(Progress(self.concurrency, self.attempt, self.windows))
