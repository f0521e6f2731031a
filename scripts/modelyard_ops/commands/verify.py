"""`modelyard verify`: what is published, proven against PyTorch again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from modelyard_build.repository.device import HELP as DEVICE_HELP
from modelyard_build.repository.device import use
from modelyard_ops.building import ConsoleProgress, serve_scratch
from modelyard_ops.console import print_json, stdout
from modelyard_ops.paths import DEFAULT_REPOSITORY, existing_repository

if TYPE_CHECKING:
    from modelyard_build.reverify import Finding


def verify(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="What to verify; everything when none is named.")
    ] = None,
    through_server: Annotated[
        bool,
        typer.Option("--through-server", help="Also through a Triton, over gRPC and HTTP, with the task's figure."),
    ] = False,
    repository: Annotated[Path, typer.Option(help="The model repository.")] = DEFAULT_REPOSITORY,
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON on stdout.")] = False,
) -> None:
    """Hold the published files of each model against PyTorch again, at every corner of the declared sizes.

    Exit code 1 where one of them does not keep the bound of its class.
    """
    from modelyard_build import reverify

    use(device)
    serve = serve_scratch if through_server else None
    findings = []
    for finding in reverify.verify(models or [], existing_repository(repository), serve, ConsoleProgress()):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.failed for finding in findings):
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    what = f"{finding.model} version {finding.version}, {finding.what}"
    if finding.failed:
        line = f"[red]{what}: {escape(finding.failed)}[/red]"
    elif finding.skipped:
        line = f"[dim]{what}: not run: {escape(finding.skipped)}[/dim]"
    else:
        line = f"[green]{what}: holds[/green] {escape(', '.join(_figures(finding.evidence)))}"
    stdout.print(line, soft_wrap=True)


def _figures(evidence: dict[str, Any]) -> Iterator[str]:
    """The figures that decide, wherever they stand in the evidence."""
    for name, value in evidence.items():
        if name in ("min_cosine", "max_error_in_floors", "max_error") and value is not None:
            yield f"{name} {value:.7g}"
        elif isinstance(value, dict):
            yield from (f"{name}: {figure}" if ":" not in figure else figure for figure in _figures(value))
