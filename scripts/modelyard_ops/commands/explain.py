"""`modelyard explain`: a version's manifest as a person wants to read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from modelyard_ops.candidates import print_candidates
from modelyard_ops.console import print_json, stdout
from modelyard_ops.errors import OpsError
from modelyard_ops.paths import DEFAULT_REPOSITORY, existing_repository

if TYPE_CHECKING:
    from modelyard_build.repository.manifest import Manifest


def explain(
    model: Annotated[str, typer.Argument(help="A model of the repository.")],
    version: Annotated[int | None, typer.Option(help="Its version; the newest when left out.")] = None,
    repository: Annotated[Path, typer.Option(help="The model repository.")] = DEFAULT_REPOSITORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest itself on stdout.")] = False,
) -> None:
    """What a version is made of, from which weights and code, through which steps, and how it was proven."""
    from modelyard_build.repository import manifest

    folder = version_folder(existing_repository(repository) / model, version)
    found = manifest.read(folder)
    if as_json:
        print_json(vars(found))
        return
    _show(found, manifest.damage(folder, found))


def version_folder(model_folder: Path, version: int | None) -> Path:
    """The folder of a published version.

    Raises:
        OpsError: there is no such model or version.
    """
    from modelyard_build.repository import versions

    found = versions.versions(model_folder)
    if not found:
        raise OpsError(f"{model_folder} holds no version. Build it: modelyard build {model_folder.name}")
    if version is not None and version not in found:
        raise OpsError(f"{model_folder.name} has no version {version}; it has {', '.join(map(str, found))}.")
    return model_folder / str(version or found[-1])


def _show(found: Manifest, damage: str) -> None:
    _line(f"[bold]{found.model}[/bold] version {found.version}, published {found.created}")
    if damage:
        _line(f"[red]damaged: {escape(damage)}[/red]")
    signature = found.signature
    for role in ("inputs", "outputs"):
        tensors = (f"{tensor['name']} {tensor['dtype']} {tensor['dims']}" for tensor in signature[role])
        _line(f"{role:10}{escape(', '.join(tensors))}")
    most = signature["max_batch_size"]
    _line(f"{'batch':10}{f'1 to {most}' if most else 'none: each request runs on its own'}")
    _line(f"{'for':10}Triton {found.target['triton']} (release {found.target['release']}) and compatible")
    _show_origin(found)
    _show_evidence(found)


def _show_origin(found: Manifest) -> None:
    _line("\n[bold]from[/bold]")
    for name, sha256 in {**found.assets, **found.sources}.items():
        _line(f"  {sha256[:12]}  {escape(name)}")
    for name, key in found.steps.items():
        _line(f"  {key[:12]}  step {name}")
    _line(f"  with {', '.join(f'{name} {version}' for name, version in found.libraries.items())}")
    _line("\n[bold]steps[/bold]")
    seconds = dict(found.seconds)
    for record in found.candidates.values():
        seconds.update(record["seconds"])
    for step, taken in seconds.items():
        _line(f"  {taken:8.1f} s  {step}")


def _show_evidence(found: Manifest) -> None:
    _line("\n[bold]files[/bold]")
    for name, described in found.files.items():
        _line(f"  {described['sha256'][:12]}  {described['bytes'] / 2**20:8.1f} MiB  {escape(name)}")
    for hardware, measurement in (found.measurements or {"": {}}).items():
        if found.candidates:
            _line(f"\n[bold]candidates[/bold] {hardware}")
            print_candidates(found.candidates, found.files, measurement)
    for name, record in found.candidates.items():
        _show_candidate(name, record)
    if found.verification:
        _line(f"\n[bold]verified through Triton[/bold]\n  {escape(_flat(found.verification))}")
    if found.metrics:
        figures = {who: found.metrics[who] for who in ("pytorch", "served")}
        items = f"{found.metrics['items']} {found.metrics.get('items_are', 'items')}"
        _line(f"\n[bold]measured on {escape(items)}[/bold]\n  {escape(_flat(figures))}")


def _show_candidate(name: str, record: dict[str, Any]) -> None:
    _line(f"\n[bold]{name}[/bold]")
    if record["refused"]:
        _line(f"  refused: {escape(record['refused'])}")
    for output, evidence in record.get("verification", {}).get("outputs", {}).items():
        _line(f"  {output}: {escape(_flat(evidence))}")
    if record.get("artefact"):
        _line(f"  made as: {escape(_flat(record['artefact']))}")
    if record.get("served"):
        _line(f"  through Triton: {escape(_flat(record['served']))}")


def _flat(value: Any) -> str:
    """Nested figures in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_nested(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_nested(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _nested(value: Any) -> str:
    return f"({_flat(value)})" if isinstance(value, dict | list) else _flat(value)


def _line(text: str) -> None:
    stdout.print(text, soft_wrap=True)
