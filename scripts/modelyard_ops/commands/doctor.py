"""`modelyard doctor`: whether this machine can build and serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from modelyard_ops.console import print_json, stdout
from modelyard_ops.extras import require_extra
from modelyard_ops.paths import DEFAULT_REPOSITORY

STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    repository: Annotated[Path, typer.Option(help="The model repository.")] = DEFAULT_REPOSITORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON on stdout.")] = False,
) -> None:
    """Check everything that building and serving need of this machine, and say how to mend what is not right.

    Exit code 1 when something fails; a warning is no failure.
    """
    require_extra("server", "psutil")
    from modelyard_ops.diagnosis import Verdict, diagnose

    findings = diagnose(repository)
    if as_json:
        print_json([{"subject": f.subject, "verdict": f.verdict.value, "detail": f.detail} for f in findings])
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for finding in findings:
            verdict = Text(finding.verdict.value, style=STYLES[finding.verdict.value])
            table.add_row(verdict, finding.subject, Text(finding.detail, overflow="fold"))
        stdout.print(table)
    if any(finding.verdict == Verdict.fail for finding in findings):
        raise typer.Exit(1)
