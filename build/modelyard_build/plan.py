"""What there is to do: each model's latest version against what its source says now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard_build.errors import BuildError
from modelyard_build.model import AnyModel, Ensemble
from modelyard_build.models import declared_in
from modelyard_build.repository import config, manifest, versions
from modelyard_build.sources import build_key, sources


@dataclass(frozen=True)
class Planned:
    """One model of a build.

    Attributes:
        model: the declaration.
        folder: its folder in the repository.
        sources: SHA-256 of each source file it depends on.
        key: the hash over all that decides it.
        steps: for an ensemble, the keys of its steps.
        latest: the folder of its newest version, if there is one.
        reason: why a version has to be built; empty when there is nothing to do.
    """

    model: AnyModel
    folder: Path
    sources: dict[str, str]
    key: str
    steps: dict[str, str]
    latest: Path | None
    reason: str


def plan(models: Sequence[AnyModel], repository: Path) -> list[Planned]:
    """Compares each model with its newest version; steps come before the ensembles that use them.

    Raises:
        ConfigContradiction: a config.pbtxt that stands contradicts what would be built.
        BuildError: the repository is not a folder.
    """
    if repository.exists() and not repository.is_dir():
        raise BuildError(f"{repository} is a file; a model repository is a folder. Name one with --repository.")
    planned: dict[str, Planned] = {}
    for model in models:
        folder = repository / model.name
        if (folder / config.FILENAME).exists():
            config.check(folder / config.FILENAME, model)
        steps = {step.model: planned[step.model].key for step in model.steps} if isinstance(model, Ensemble) else {}
        files = sources(model, declared_in(model))
        key = build_key(model, files, steps)
        latest = versions.latest(folder)
        planned[model.name] = Planned(model, folder, files, key, steps, latest, _reason(latest, key, files))
    return list(planned.values())


def _reason(latest: Path | None, key: str, files: dict[str, str]) -> str:
    if latest is None:
        return "no version yet"
    if not (latest / manifest.FILENAME).exists():
        return f"version {latest.name} has no manifest"
    found = manifest.read(latest)
    if damaged := manifest.damage(latest, found):
        return f"version {latest.name} is damaged: {damaged}"
    if found.key == key:
        return ""
    changed = [name for name in files if found.sources.get(name) != files[name]]
    changed += [name for name in found.sources if name not in files]
    return f"changed since version {latest.name}: {', '.join(changed) or 'a step, an asset or a library'}"
