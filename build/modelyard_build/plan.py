"""What there is to do: each model's latest version against what its source says now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard_build.errors import BuildError
from modelyard_build.model import AnyModel, Model, composing
from modelyard_build.models import declared_in
from modelyard_build.repository import config, manifest, versions
from modelyard_build.repository.agreement import agree
from modelyard_build.repository.manifest import Manifest
from modelyard_build.sources import build_key, pinned_assets, sources
from modelyard_build.wanted import Wanted, wanted


@dataclass(frozen=True)
class Planned:
    """One model of a build.

    Attributes:
        model: the declaration.
        folder: its folder in the repository.
        sources: SHA-256 of each source file it depends on.
        key: the hash over all that decides it.
        steps: the keys of the models that it needs to be served: an ensemble's steps, what a step calls.
        latest: the folder of its newest version, if there is one.
        reason: why a version has to be built; empty when there is none to be built.
        candidates: for a PyTorch model, what the version is to hold.
        additions: those of them that the newest version lacks, where no new one is to be built.
        before: the record of the newest version, if it has one: what in the configs is of it, the next one may change.
    """

    model: AnyModel
    folder: Path
    sources: dict[str, str]
    key: str
    steps: dict[str, str]
    latest: Path | None
    reason: str
    candidates: tuple[Wanted, ...] = ()
    additions: tuple[Wanted, ...] = ()
    before: Manifest | None = None

    @property
    def due(self) -> tuple[Wanted, ...]:
        """The candidates that are to be made now."""
        available = tuple(item for item in self.candidates if not item.unavailable)
        return available if self.reason else self.additions


def plan(models: Sequence[AnyModel], repository: Path, targets: Sequence[str] = ()) -> list[Planned]:
    """Compares each model with its newest version; steps come before the ensembles that use them.

    Args:
        models: the declarations.
        repository: the model repository.
        targets: the targets or candidates that were asked for, beside the portable one and those that configs name.

    Raises:
        ConfigContradiction: a config.pbtxt that stands contradicts what would be built.
        UnknownTarget: a name that no target has.
        BuildError: the repository is not a folder.
    """
    if repository.exists() and not repository.is_dir():
        raise BuildError(f"{repository} is a file; a model repository is a folder. Name one with --repository.")
    planned: dict[str, Planned] = {}
    for model in models:
        steps = {name: planned[name].key for name in composing(model)}
        planned[model.name] = _plan(model, repository / model.name, steps, targets)
    return list(planned.values())


def _plan(model: AnyModel, folder: Path, steps: dict[str, str], targets: Sequence[str]) -> Planned:
    latest = versions.latest(folder)
    before = manifest.read(latest) if latest is not None and (latest / manifest.FILENAME).exists() else None
    for path in config.paths(folder):
        config.check(path, model, agree(config.text_of(path), model, before.signature if before else None))
    files = sources(model, declared_in(model))
    key = build_key(model, files, steps)
    candidates = wanted(model, folder, key, targets) if isinstance(model, Model) else ()
    reason = _reason(model, latest, key, files, candidates)
    additions = () if reason or latest is None else _additions(latest, candidates)
    return Planned(model, folder, files, key, steps, latest, reason, candidates, additions, before)


def _reason(model: AnyModel, latest: Path | None, key: str, files: dict[str, str], candidates: Sequence[Wanted]) -> str:
    if latest is None:
        return "no version yet"
    if not (latest / manifest.FILENAME).exists():
        return f"version {latest.name} has no manifest"
    found = manifest.read(latest)
    if damaged := manifest.damage(latest, found):
        return f"version {latest.name} is damaged: {damaged}"
    if found.key == key:
        return _outdated(latest, found, candidates)
    changed = [name for name in files if found.sources.get(name) != files[name]]
    changed += [name for name in found.sources if name not in files]
    changed += _changed_assets(model, found)
    return f"changed since version {latest.name}: {', '.join(changed) or 'a step or a library'}"


def _changed_assets(model: AnyModel, found: Manifest) -> list[str]:
    """The files of the model's own that were others, or that it did not have, and those that it no longer has."""
    assets = pinned_assets(model)
    changed = [asset.filename for name, asset in assets.items() if found.assets.get(name) != asset.sha256]
    return changed + [name for name in found.assets if name not in assets]


def _outdated(latest: Path, found: Manifest, candidates: Sequence[Wanted]) -> str:
    """A file that is published is never replaced: where one would now be made otherwise, a new version is due."""
    outdated = [
        item.candidate.name
        for item in candidates
        if not item.unavailable
        and item.candidate.name in found.candidates
        and not found.candidates[item.candidate.name]["refused"]
        and found.candidates[item.candidate.name]["key"] != item.key
    ]
    return f"made otherwise since version {latest.name}: {', '.join(outdated)}" if outdated else ""


def _additions(latest: Path, candidates: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """What the version lacks, and what was refused and may now go otherwise."""
    found = manifest.read(latest).candidates
    return tuple(item for item in candidates if not item.unavailable and _is_open(found.get(item.candidate.name), item))


def _is_open(record: Mapping[str, Any] | None, item: Wanted) -> bool:
    return record is None or record["key"] != item.key or bool(record["refused"] and record["retry"])
