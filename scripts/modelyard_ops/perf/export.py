"""The result for programs: JSON and CSV. The field names and units are documented in docs/perf.md."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

from modelyard_ops.errors import OpsError
from modelyard_ops.perf.measurement import Measurement
from modelyard_ops.perf.plan import Plan
from modelyard_ops.perf.report import Latency, ModelTimes

LATENCIES = tuple(f"latency_{field.name}" for field in fields(Latency))
TIMES = ("queue_ms", "compute_ms", "compute_input_ms", "compute_infer_ms", "compute_output_ms")
COUNTS = ("requests", "inferences", "executions", "cache_hits")
CSV_COLUMNS = (
    *("model", "version", "ensemble", "protocol", "batch_size", "concurrency", "status", "reason"),
    *("throughput_inferences_per_s", *LATENCIES, *TIMES, "batch_size_mean", *COUNTS, "errors", "attempts"),
    "spread_percent",
)


def to_json(plan: Plan, measurements: Sequence[Measurement]) -> dict[str, Any]:
    """The whole result as one JSON object; None stands where a number is not known."""
    return {
        "model": plan.model,
        "url": plan.url,
        "protocol": plan.protocol,
        "batch_size": plan.batch_size,
        "measurement_interval_ms": plan.interval_ms,
        "stability_percent": plan.stability_percent,
        "measurements": [_object(measurement) for measurement in measurements],
    }


def _object(measurement: Measurement) -> dict[str, Any]:
    return {
        "version": measurement.version,
        **_client(measurement),
        "warnings": list(measurement.warnings),
        "windows": [
            {"throughput_inferences_per_s": window.throughput, "latency_avg_ms": window.latency_avg_ms}
            for window in measurement.windows
        ],
        "server": _server(measurement.server) if measurement.server else None,
        "composing_models": [_server(times) for times in measurement.composing],
    }


def _client(measurement: Measurement) -> dict[str, Any]:
    latency = measurement.latency
    return {
        "concurrency": measurement.concurrency,
        "status": measurement.status,
        "reason": measurement.reason,
        "throughput_inferences_per_s": measurement.throughput,
        **{f"latency_{field.name}": getattr(latency, field.name, None) for field in fields(Latency)},
        "requests": measurement.requests,
        "errors": measurement.errors,
        "attempts": measurement.attempts,
        "spread_percent": measurement.spread_percent,
    }


def _server(times: ModelTimes) -> dict[str, Any]:
    names = ("model", "version", *COUNTS, *TIMES)
    return {**{name: getattr(times, name) for name in names}, "batch_size_mean": times.batch_size}


def to_csv(measurements: Sequence[Measurement]) -> str:
    """One line a measurement, then one for each model that the ensemble calls; an unknown number is an empty field."""
    text = StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for measurement in measurements:
        writer.writerow(_row(measurement))
        for times in measurement.composing:
            writer.writerow({"ensemble": measurement.model, "concurrency": measurement.concurrency, **_server(times)})
    return text.getvalue()


def _row(measurement: Measurement) -> dict[str, Any]:
    server = _server(measurement.server) if measurement.server else {}
    own = {name: getattr(measurement, name) for name in ("model", "version", "protocol", "batch_size")}
    return {**server, **own, **_client(measurement)}


def write_csv(path: Path, measurements: Sequence[Measurement]) -> None:
    """Writes the CSV file.

    Raises:
        OpsError: it cannot be written.
    """
    try:
        path.write_text(to_csv(measurements), encoding="utf-8")
    except OSError as error:
        raise OpsError(f"the CSV file {path} cannot be written: {error.strerror}.") from None
