"""The candidates of a model as a table: size, speed on this machine, distance from PyTorch, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelyard_ops.console import stdout

MEBIBYTE = 2**20
WIDTH = 150
PYTORCH = "eager PyTorch"
PLAIN_ONNX = "plain ONNX"
COLUMNS = (
    "candidate",
    "MiB",
    "load s",
    "ms, 1 item",
    "items/s",
    "x PyTorch",
    "class",
    "worst cosine",
    "loss",
    "verdict",
)
_RIGHT = {"MiB", "load s", "ms, 1 item", "items/s", "worst cosine", "loss"}


def print_candidates(
    records: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, Mapping[str, Any]],
    measurement: Mapping[str, Any],
    chosen: str = "",
) -> None:
    """Writes the table to stdout whole, also where the terminal is narrower, and below it what was refused."""
    if measurement:
        stdout.print(_title(measurement), style="dim", soft_wrap=True)
    # A console of its own: rich narrows a table to the terminal, whatever width it is asked for.
    wide = Console(highlight=False, width=max(WIDTH, stdout.width))
    wide.print(candidates_table(records, files, measurement, chosen))
    for name, record in records.items():
        if record["refused"]:
            stdout.print(f"{name} is refused: {record['refused']}", style="yellow", markup=False, soft_wrap=True)
    not_run = {name: record["not_run"] for name, record in records.items() if record.get("not_run")}
    for reason in dict.fromkeys(not_run.values()):
        names = ", ".join(name for name, why in not_run.items() if why == reason)
        line = f"{names}: proven is the graph, not the artefact: {reason}"
        stdout.print(line, style="dim", markup=False, soft_wrap=True)


def candidates_table(
    records: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, Mapping[str, Any]],
    measurement: Mapping[str, Any],
    chosen: str = "",
) -> Table:
    """One row a candidate, before them what they are measured against: PyTorch, or an ONNX file node by node.

    Args:
        records: the manifest's candidates.
        files: the manifest's files, for their sizes.
        measurement: the manifest's measurement of one kind of machine; empty where there is none.
        chosen: the candidate that this kind of machine serves.
    """
    table = Table(box=None, pad_edge=False)
    measured = measurement.get("candidates", {})
    for column in COLUMNS:
        title = "x plain" if column == "x PyTorch" and PLAIN_ONNX in measured else column
        table.add_column(title, justify="right" if column in _RIGHT else "left", no_wrap=True)
    for baseline in (PYTORCH, PLAIN_ONNX):
        if baseline in measured:
            table.add_row(_baseline(baseline, measurement), "", "", *_speed(measured[baseline]), "", "", "", "")
    for name, record in records.items():
        size = sum(files[file]["bytes"] for file in record["files"]) / MEBIBYTE
        load = f"{measured[name]['load_s']:.2f}" if name in measured else ""
        table.add_row(
            name,
            f"{size:.0f}" if record["files"] else "",
            load,
            *_speed(measured.get(name, {})),
            _class(record),
            *_quality(record),
            _verdict(record, name == chosen),
        )
    return table


def _baseline(name: str, measurement: Mapping[str, Any]) -> str:
    """PyTorch on the CPU of a machine whose candidates ran on its GPU is no measure of them; it is said."""
    return f"{name} (CPU)" if measurement.get("gpu") and measurement.get("pytorch") == "cpu" else name


def _title(measurement: Mapping[str, Any]) -> str:
    sizes = "".join(f", {name} {size}" for name, size in measurement["sizes"].items())
    return (
        f"{measurement['hardware']}, {measurement['cores']} cores: batch {measurement['batch']}{sizes}, "
        f"{measurement['instances']} callers; "
        f"{measurement['rounds']} rounds, interleaved; the ratio with its 95 % interval"
    )


def _speed(found: Mapping[str, Any]) -> tuple[str, str, str]:
    if not found:
        return "", "", ""
    mean, low, high = found["ratio"]
    ratio = "1" if mean == low == high == 1 else f"{mean:.2f} [{low:.2f}, {high:.2f}]"
    return f"{found['latency_ms']:.1f}", f"{found['throughput']:.0f}", ratio


def _class(record: Mapping[str, Any]) -> str:
    """Its own, and the one that its served answers are held to where that is another."""
    served = record.get("served", {}).get("quality", record["quality"])
    return str(record["quality"]) if served == record["quality"] else f"{record['quality']}, served {served}"


def _quality(record: Mapping[str, Any]) -> tuple[str, str]:
    """The worst cosine over every case and every served item, and the task figure's loss in points."""
    cosines = [output["min_cosine"] for output in record.get("verification", {}).get("outputs", {}).values()]
    cosines += [
        output["min_cosine"]
        for ensemble in record.get("served", {}).values()
        if isinstance(ensemble, dict)
        for output in ensemble.get("grpc", {}).values()
        if "min_cosine" in output
    ]
    losses = [
        # What is better when lower is lost by rising.
        100 * (figures["pytorch"][figure] - value) * (-1 if figure in figures.get("losses", ()) else 1)
        for figures in record.get("metrics", {}).values()
        if figures
        for figure, value in figures["served"].items()
    ]
    return f"{min(cosines):.6f}" if cosines else "", f"{max(losses):.2f}" if losses else ""


def _verdict(record: Mapping[str, Any], chosen: bool) -> Text:
    if record["refused"]:
        return Text("refused", style="yellow")
    if record["proven"] == "graph":
        return Text("graph proven", style="dim")
    return Text("proven, serves here", style="bold green") if chosen else Text("proven", style="green")
