"""`modelyard systems`: every system of the project built, verified, served and asked, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from modelyard_client import Client
from modelyard_ops.building import ConsoleProgress, serve_scratch, server_on_free_ports
from modelyard_ops.console import print_json, stderr, stdout
from modelyard_ops.paths import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from modelyard_build.model import AnyModel
    from modelyard_ops.systems.asking import Asked
    from modelyard_ops.systems.row import Row

WIDTH = 150


def systems(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SYSTEM]...", help="Which; every one when none is named.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="The model repository; made when missing.")] = DEFAULT_REPOSITORY,
    seconds: Annotated[float, typer.Option(help="For how long each is asked.", min=0.1)] = 5.0,
    callers: Annotated[int, typer.Option(help="Requests that are kept under way.", min=1)] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON on stdout.")] = False,
) -> None:
    """Build and verify every system, serve all of them together, ask each with its golden samples, and stop.

    The response cache is off meanwhile, so that every request is computed. A system whose weights are gone from their
    registry is left out with a line.
    """
    from modelyard_build import pipeline
    from modelyard_ops.systems.row import called_by_clients, row

    results = pipeline.build(names or [], repository, serve_scratch, ConsoleProgress())
    there = {result.model for result in results}
    asked = [model for model in called_by_clients(names or []) if model.name in there]
    found = _ask(asked, there, repository, seconds, callers)
    config_name = _config_name(repository)
    rows = [(row(model, repository, config_name), found[model.name]) for model in asked]
    if as_json:
        print_json([{**asdict(line), **_speed(speed)} for line, speed in rows])
        return
    # A console of its own: rich narrows a table to the terminal, whatever width it is asked for.
    Console(highlight=False, width=max(WIDTH, stdout.width)).print(_table(rows, callers))


def _config_name(repository: Path) -> str | None:
    from modelyard_ops.machine import announced_config_name

    return announced_config_name(repository, None)


def _ask(
    models: Sequence[AnyModel], built: set[str], repository: Path, seconds: float, callers: int
) -> dict[str, Asked]:
    from modelyard_ops.perf.samples import golden_samples
    from modelyard_ops.systems.asking import ask

    found = {}
    with (
        server_on_free_ports(repository, _config_name(repository), models=built, response_cache=False) as server,
        Client(f"grpc://{server.grpc_url}") as client,
    ):
        for model in models:
            with stderr.status(f"asking {model.name}"):
                found[model.name] = ask(client, model.name, golden_samples(repository, model.name), seconds, callers)
    return found


def _speed(asked: Asked) -> dict[str, float]:
    return {
        "p50_ms": asked.milliseconds(50),
        "p99_ms": asked.milliseconds(99),
        "first_ms": asked.first_milliseconds,
        "requests_per_second": asked.per_second,
    }


def _table(rows: Sequence[tuple[Row, Asked]], callers: int) -> Table:
    title = f"golden samples, {callers} requests under way; ms to the last response; figures: served / PyTorch"
    table = Table(title=title, title_justify="left", title_style="dim", box=None, pad_edge=False)
    for column in ("system", "weights", "target", "figures", "first", "p50", "p99", "requests/s", "parity"):
        numeric = column in ("first", "p50", "p99", "requests/s")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for line, asked in rows:
        speed = [asked.first_milliseconds, asked.milliseconds(50), asked.milliseconds(99), asked.per_second]
        numbers = [f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in speed]
        table.add_row(line.system, line.weights, line.target, line.figures, *numbers, line.parity)
    return table
