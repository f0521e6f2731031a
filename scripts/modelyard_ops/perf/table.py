"""The result as one table for people; it fits a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from modelyard_ops.perf.measurement import Measurement
from modelyard_ops.perf.report import ModelTimes

NOTHING = "-"
STYLES = {"stable": "green", "unstable": "yellow", "failed": "red", "interrupted": "yellow"}
NUMBERS = ("inf/s", "p50", "p90", "p95", "p99", "queue", "com-\npute", "batch\nmean", "er-\nrors")


def table(measurements: Sequence[Measurement]) -> Table:
    """One row a concurrency; under it one row for each model that an ensemble calls. Notes stand below."""
    notes = _notes(measurements)
    result = Table(
        title=_title(measurements),
        caption=Text("\n".join(notes)) if notes else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    result.add_column("concur-\nrency", no_wrap=True)
    for name in NUMBERS:
        result.add_column(name, justify="right", no_wrap=True)
    result.add_column("", overflow="fold")
    for measurement in measurements:
        _add_rows(result, measurement)
    return result


def _add_rows(result: Table, measurement: Measurement) -> None:
    latency = measurement.latency
    percentiles = [latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms] if latency else [None] * 4
    result.add_row(
        str(measurement.concurrency),
        _number(measurement.throughput),
        *(_number(value) for value in percentiles),
        *_server_cells(measurement.server, is_ensemble=bool(measurement.composing)),
        str(measurement.errors),
        Text(measurement.status, style=STYLES[measurement.status]),
    )
    for times in measurement.composing:
        cells = _server_cells(times, is_ensemble=False)
        result.add_row(*[""] * 6, *cells, "", _short(times.model, measurement.model), style="dim")


def _server_cells(times: ModelTimes | None, *, is_ensemble: bool) -> list[str]:
    if times is None:
        return [NOTHING] * 3
    # An ensemble is executed once a request, whatever its composing models batch.
    return [_number(times.queue_ms), _number(times.compute_ms), NOTHING if is_ensemble else _number(times.batch_size)]


def _short(name: str, ensemble: str) -> str:
    """A composing model's name without the ensemble's, where it starts with it."""
    rest = name.removeprefix(f"{ensemble}_")
    return name if rest == name else f"…{rest}"


def _number(value: float | None) -> str:
    """About three digits: whole numbers from 100 on, two decimals below 10."""
    if value is None:
        return NOTHING
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def _title(measurements: Sequence[Measurement]) -> str | None:
    if not measurements:
        return None
    first = measurements[0]
    return f"{first.model} version {first.version} · {first.protocol} · batch size {first.batch_size} · times in ms"


def _notes(measurements: Sequence[Measurement]) -> list[str]:
    return [f"concurrency {row.concurrency}: {note}" for row in measurements for note in _notes_of(row)]


def _notes_of(row: Measurement) -> list[str]:
    notes = list(row.warnings)
    if row.status == "unstable":
        notes.insert(0, f"unstable: throughput or average latency changed by {row.spread_percent:.0f}% between windows")
    if row.status == "interrupted":
        notes.insert(0, f"interrupted: the mean of the first {len(row.windows)} windows")
    return [f"failed: {row.reason}", *notes] if row.reason else notes
