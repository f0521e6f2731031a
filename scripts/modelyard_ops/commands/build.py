"""`modelyard build`: PyTorch models into verified versions of the model repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from modelyard_build.repository.device import HELP as DEVICE_HELP
from modelyard_build.repository.device import use
from modelyard_ops.building import ConsoleProgress, load_into_running_servers, serve_scratch
from modelyard_ops.candidates import print_candidates
from modelyard_ops.console import print_json, stdout
from modelyard_ops.paths import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from modelyard_build.choice import Choice
    from modelyard_build.pipeline import Result


class Quality(str, Enum):
    """The classes of `modelyard_build.quality`, from the strictest to the loosest."""

    exact = "exact"
    near = "near"
    quantised = "quantised"


def build(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="What to build; everything when none is named.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="The model repository; made when missing.")] = DEFAULT_REPOSITORY,
    targets: Annotated[
        str,
        typer.Option(
            help="What to make beside the portable artefact, separated by commas: targets (openvino), candidates "
            "(openvino-bf16), cpu, gpu, or all."
        ),
    ] = "",
    quality: Annotated[
        Quality, typer.Option(help="The loosest class that the config for this kind of machine may serve.")
    ] = Quality.near,
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON on stdout.")] = False,
) -> None:
    """Export, verify and publish: each model whose source, weights or libraries changed becomes a new version.

    A version is published only after its answers, through a running Triton, were proven equal to PyTorch's. Servers of
    this machine that run on the repository load what is new.
    """
    from modelyard_build import pipeline
    from modelyard_build.models import check_readable

    use(device)
    progress = ConsoleProgress()
    asked = [name.strip() for name in targets.split(",") if name.strip()]
    results = pipeline.build(models or [], repository, serve_scratch, progress, asked, quality.value)
    built = [result.model for result in results if result.built]
    loaded = load_into_running_servers(repository, built)
    if as_json:
        print_json([asdict(result) for result in results])
        return
    for result in results:
        _show(result)
    _show_time(progress.seconds)
    for line in loaded:
        stdout.print(line, soft_wrap=True)
    if not models:
        check_readable()


def _show(result: Result) -> None:
    _show_version(result)
    for reason in dict.fromkeys(result.unavailable.values()):
        names = ", ".join(name for name, why in result.unavailable.items() if why == reason)
        stdout.print(f"  [dim]not built here: {names}: {escape(reason)}[/dim]", soft_wrap=True)
    if result.measurement:
        chosen = result.choice.name if result.choice and not result.choice.conflict else ""
        print_candidates(result.candidates, result.files, result.measurement, chosen)
    if result.choice:
        _show_choice(result.choice)


def _show_choice(choice: Choice) -> None:
    serves = f"{choice.path} serves {choice.name}" if choice.path else f"config.pbtxt stays: {choice.name}"
    serves = f"the best here is {choice.name}" if choice.conflict else serves
    stdout.print(f"  {serves}: {choice.reason}", soft_wrap=True)
    if choice.conflict:
        stdout.print(
            f"  [yellow]{choice.path} stands and says otherwise; it is left as it is. Remove it and build again "
            "to have the build's:[/yellow]",
            soft_wrap=True,
        )
        stdout.print(choice.conflict, markup=False, soft_wrap=True)


def _show_version(result: Result) -> None:
    if not result.built:
        done = f"{', '.join(result.added)} added" if result.added else "is up to date, nothing to do"
        style = "green" if result.added else "dim"
        stdout.print(f"[{style}]{result.model}: version {result.version} {done}[/{style}]", soft_wrap=True)
        return
    line = f"[green]{result.model}: version {result.version} published[/green] ({result.reason})"
    stdout.print(line, soft_wrap=True)
    if result.metrics:
        served, pytorch = result.metrics["served"], result.metrics["pytorch"]
        figures = ", ".join(f"{name} {served[name]:.4f} / {value:.4f}" for name, value in pytorch.items())
        items = f"{result.metrics['items']} {result.metrics.get('items_are', 'items')}"
        stdout.print(f"  on {items}, served / PyTorch: {figures}", soft_wrap=True)


def _show_time(taken: Mapping[str, float]) -> None:
    spent = sorted(((seconds, step) for step, seconds in taken.items() if seconds >= 0.1), reverse=True)
    if spent:
        steps = ", ".join(f"{step} {seconds:.1f} s" for seconds, step in spent)
        stdout.print(f"time went into: {steps}", soft_wrap=True)
