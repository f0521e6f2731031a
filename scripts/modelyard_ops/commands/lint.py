"""`modelyard lint`: what is wrong with a model repository, before a server starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard_ops.errors import CannotRun
from modelyard_ops.linting.outputs import FORMATS, emit, wants_colour, written

EXIT_FINDINGS = 1


def lint(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Repositories, folders of models, configs, YAML of Docker Compose or Kubernetes. "
            "[default: model_repository/, and the Compose file and deploy/ if they are there]",
            show_default=False,
        ),
    ] = None,
    target_release: Annotated[
        str | None, typer.Option(help="The release of Triton's container that will serve, such as 26.06.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help='The machine: cpu, l4, h200, "cpu:cores=16", or here. [default: any]')
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Ask these rules only: codes or their beginnings, MY1,MY201.")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Do not ask these rules.")] = None,
    format_: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "text",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what has one safe mend, and show the changes.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show what --fix would change, and write nothing.")] = False,
) -> None:
    """Check model repositories and the files that deploy them, without a server.

    Exit code 0 when nothing is found, 1 when something is, 2 when lint could not run.
    """
    from modelyard_ops.linting import fixing
    from modelyard_ops.linting.run import Run
    from modelyard_ops.linting.settings import chosen_rules, find_table, settings_of
    from modelyard_ops.linting.targets import targets

    if format_ not in FORMATS:
        raise CannotRun(f"--format is {format_!r}; it can be {', '.join(FORMATS)}.")
    table = find_table(Path.cwd())
    rules = chosen_rules(_split(select) or table.select, table.ignore + _split(ignore))
    run = Run(targets(paths or [], table), settings_of(table, target_release, hardware), rules)
    mended = fixing.mend(run.findings) if fix or diff else None
    if mended and mended.after:
        if not diff:
            fixing.write(mended)
        emit(fixing.diff(mended), to_stderr=format_ != "text")
    if mended and diff:
        emit(f"{fixing.summary(mended)}\n", to_stderr=True)
        raise typer.Exit(EXIT_FINDINGS if mended.after or mended.left else 0)
    report = run.report(mended.left if mended else run.findings({}))
    emit(written(report, format_, colour=output is None and format_ == "text" and wants_colour()), output)
    raise typer.Exit(EXIT_FINDINGS if report.findings else 0)


def _split(values: list[str] | None) -> tuple[str, ...]:
    """Codes that are separated by commas, or given one by one."""
    return tuple(code.strip() for value in values or () for code in value.split(",") if code.strip())
