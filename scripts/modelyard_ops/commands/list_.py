"""`modelyard list`: what can be built, and what the repository holds of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from modelyard_ops.console import print_json, stdout
from modelyard_ops.paths import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from modelyard_build.plan import Planned


def list_(
    repository: Annotated[Path, typer.Option(help="The model repository.")] = DEFAULT_REPOSITORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON on stdout.")] = False,
) -> None:
    """Every model that can be built, its newest version, and whether that is up to date with the source."""
    from modelyard_build.models import all_models, declared
    from modelyard_build.plan import plan

    rows = [
        {
            "model": item.model.name,
            "version": int(item.latest.name) if item.latest else None,
            "state": _state(item),
            "summary": item.model.summary,
        }
        for item in plan(all_models(), repository)
    ]
    rows += [
        {"model": system.name, "version": None, "state": f"cannot be read: {system.broken}", "summary": ""}
        for system in declared()
        if system.broken
    ]
    if as_json:
        print_json(rows)
    else:
        stdout.print(_table(rows))


def _state(item: Planned) -> str:
    """What the next build will do, in words."""
    if item.additions:
        return f"lacks {', '.join(addition.candidate.name for addition in item.additions)}, which a config names"
    return item.reason or "up to date"


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("model", "version", "state", "summary"):
        table.add_column(column, justify="right" if column == "version" else "left")
    for row in rows:
        style = "" if row["state"] == "up to date" else "yellow"
        table.add_row(row["model"], str(row["version"] or "-"), row["state"], row["summary"], style=style)
    return table
