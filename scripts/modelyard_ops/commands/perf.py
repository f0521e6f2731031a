"""`modelyard perf`: how fast a served model answers real inputs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from modelyard_ops import perf as harness
from modelyard_ops.console import print_json, stderr, stdout
from modelyard_ops.errors import OpsError
from modelyard_ops.paths import DEFAULT_REPOSITORY, existing_repository
from modelyard_ops.perf.export import to_json, write_csv
from modelyard_ops.perf.plan import WINDOWS
from modelyard_ops.serving import installation_progress
from modelyard_server.install import install_perf_analyzer


class Protocol(str, Enum):
    """The values of --protocol."""

    grpc = "grpc"
    http = "http"


def perf(
    model: Annotated[str, typer.Argument(help="The model to measure, as the server names it.")],
    url: Annotated[
        str | None,
        typer.Option(help="host:port of the server. [default: 127.0.0.1:8001 for gRPC, 127.0.0.1:8000 for HTTP]"),
    ] = None,
    protocol: Annotated[Protocol, typer.Option(help="Which of Triton's protocols to use.")] = Protocol.grpc,
    concurrency: Annotated[
        list[str] | None,
        typer.Option(help="Requests kept in flight; a list such as 1,4,16, or the option again. [default: 1,4,16]"),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Items in a request.")] = 1,
    measurement_interval: Annotated[
        int, typer.Option(help="Length of a measurement window in ms; three make a measurement.")
    ] = 2000,
    stability_percentage: Annotated[
        float, typer.Option(help="The three windows may differ by this much; else the row is marked unstable.")
    ] = 10.0,
    attempts: Annotated[int, typer.Option(help="How often to measure again while the windows differ by more.")] = 3,
    input_data: Annotated[
        Path | None, typer.Option(help="Inputs in perf_analyzer's JSON format, instead of the golden samples.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="Where the golden samples are.")] = DEFAULT_REPOSITORY,
    version: Annotated[str | None, typer.Option(help="The model's version. [default: the newest served]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Write the result to stdout as JSON instead.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Also write the result to this CSV file.")] = None,
) -> None:
    """Measure a served model with perf_analyzer and its golden samples: throughput, latency, queue, batch, errors.

    The server must be running (`modelyard serve`). What the numbers mean, and what they hide: docs/perf.md.
    """
    plan = harness.Plan(
        model=model,
        url=url or harness.DEFAULT_URL[protocol.value],
        protocol=protocol.value,
        concurrencies=_concurrencies(concurrency or ["1,4,16"]),
        batch_size=batch_size,
        interval_ms=measurement_interval,
        stability_percent=stability_percentage,
        attempts=attempts,
        version=version,
    )
    _check_writable(csv)
    # Before the samples: of an unknown model the server can say more than a missing file.
    harness.served_model(plan)
    inputs = (
        harness.load_samples(input_data)
        if input_data
        else harness.golden_samples(existing_repository(repository), model)
    )
    measurements, is_complete = _measure(plan, inputs)
    if json:
        print_json(to_json(plan, measurements))
    elif measurements:
        stdout.print(harness.table(measurements))
    if csv:
        write_csv(csv, measurements)
    if not is_complete:
        raise KeyboardInterrupt
    _raise_failures(measurements)


def _concurrencies(texts: Sequence[str]) -> tuple[int, ...]:
    """The values of --concurrency, ascending, each once."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    wrong = [part for part in parts if not part.isdecimal()]
    if wrong:
        raise OpsError(f"--concurrency takes whole numbers such as 1,4,16; got {wrong[0]!r}.")
    return tuple(sorted({int(part) for part in parts}))


def _check_writable(csv: Path | None) -> None:
    """A wrong path must not cost a whole measurement."""
    if csv and not csv.absolute().parent.is_dir():
        raise OpsError(f"the CSV file {csv} cannot be written: its folder does not exist.")
    if csv and csv.is_dir():
        raise OpsError(f"the CSV file {csv} cannot be written: it is a folder.")


def _measure(plan: harness.Plan, inputs: Sequence[harness.Sample]) -> tuple[list[harness.Measurement], bool]:
    """The rows, and whether they are all that the plan asked for."""
    with installation_progress() as progress:
        perf_analyzer = install_perf_analyzer(progress=progress)
    with _signals_interrupt(), _progress(plan) as on_progress:
        try:
            return harness.measure(plan, inputs, perf_analyzer, on_progress), True
        except harness.MeasuringInterrupted as interruption:
            return interruption.measurements, False


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end a measurement as Ctrl-C does: perf_analyzer must not go on without us."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(plan: harness.Plan) -> Iterator[Callable[[harness.Progress], None]]:
    """Where the measurement stands, on stderr: a bar on a terminal, else a line at the start of every attempt."""
    if not stderr.is_terminal:
        yield lambda progress: None if progress.windows else stderr.print(f"measuring {_description(plan, progress)}")
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        a_concurrency = plan.attempts * WINDOWS
        task = bar.add_task(plan.model, total=len(plan.concurrencies) * a_concurrency)

        def show(progress: harness.Progress) -> None:
            done = plan.concurrencies.index(progress.concurrency) * a_concurrency
            done += (progress.attempt - 1) * WINDOWS + len(progress.windows)
            bar.update(task, completed=done, description=_description(plan, progress))

        yield show


def _description(plan: harness.Plan, progress: harness.Progress) -> str:
    text = f"{plan.model} · concurrency {progress.concurrency}"
    if progress.attempt > 1:
        text += f" · unstable, attempt {progress.attempt} of {plan.attempts}"
    if progress.windows:
        text += f" · {progress.windows[-1].throughput:,.0f} inferences/s"
    return text


def _raise_failures(measurements: Sequence[harness.Measurement]) -> None:
    failures = [row for row in measurements if row.status == "failed"]
    if failures:
        first = failures[0]
        raise OpsError(
            f"{len(failures)} of {len(measurements)} measurements failed; at concurrency {first.concurrency}: "
            f"{first.reason}."
        )
