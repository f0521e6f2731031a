"""The build, read top to bottom: plan, stage, make and prove every candidate, prove through a server, publish.

Nothing is published before everything that is served together was proven together.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelyard_build import artefacts, models
from modelyard_build.artefacts import Made, Workshop, make
from modelyard_build.assets import LocalAsset, PinnedAsset, cache_dir, fetch
from modelyard_build.choice import Choice, choose, write_config
from modelyard_build.errors import AssetUnavailable, BuildError
from modelyard_build.model import AnyModel, Model
from modelyard_build.plan import Planned, plan
from modelyard_build.progress import Progress
from modelyard_build.proving import Proof, Prover
from modelyard_build.publishing import Publication, publish
from modelyard_build.quality import NEAR
from modelyard_build.repository import manifest
from modelyard_build.repository.hardware import hardware
from modelyard_build.repository.manifest import Manifest
from modelyard_build.repository.releases import target_release
from modelyard_build.served import Serve
from modelyard_build.sources import pinned_assets
from modelyard_build.stage import stage


@dataclass(frozen=True)
class Result:
    """What became of one model.

    Attributes:
        model: its name.
        version: the newest version now.
        built: whether this build published it.
        reason: why it was built; empty where nothing was to do.
        seconds: how long each step took.
        metrics: the task's figures, where it has any.
        added: the candidates that this build added to a version that was there.
        candidates: the manifest's records of those that were asked for or that configs name.
        files: the version's files with their sizes.
        unavailable: the candidates that cannot be built on this machine, with the reason.
        measurement: the candidates beside each other on this kind of machine; empty where they were not measured.
        choice: the best of them for this kind of machine, where they were measured.
    """

    model: str
    version: int
    built: bool
    reason: str
    seconds: dict[str, float]
    metrics: dict[str, Any]
    added: list[str] = field(default_factory=list)
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    measurement: dict[str, Any] = field(default_factory=dict)
    choice: Choice | None = None


def build(
    names: Sequence[str],
    repository: Path,
    serve: Serve,
    progress: Progress,
    targets: Sequence[str] = (),
    quality: str = NEAR.name,
) -> list[Result]:
    """Brings models, the steps of their ensembles and the ensembles that use them up to date.

    Args:
        names: models; all of them when empty.
        repository: the model repository; made when missing.
        serve: starts a Triton over a staged repository.
        progress: shows the work.
        targets: what is to be made beside the portable artefact and what the configs name, see `targets.select`. Where
            any are named, the candidates are measured and the best gets a config for this kind of machine.
        quality: the loosest class that such a config may serve.

    Returns:
        One result a model, steps before their ensembles.

    Raises:
        BuildError: of any kind; nothing of the failing system is published.
    """
    with _exclusive(repository):
        wanted = models.systems(names)
        # A plan reads the user's own files; pinned ones are fetched where there is something to be made of them.
        lost = _lost(wanted, LocalAsset, names, progress)
        planned = plan([model for model in wanted if models.declared_in(model) not in lost], repository, targets)
        due = [item for item in planned if item.reason or item.additions or (targets and _unmeasured(item))]
        lost = _lost([item.model for item in due], PinnedAsset, names, progress)
        planned, due = (
            [item for item in items if models.declared_in(item.model) not in lost] for items in (planned, due)
        )
        target = target_release()
        staged = {item.model.name: stage(item, target, progress) for item in due}
        workshops = {
            item.model.name: Workshop(staged[item.model.name], target, progress) for item in due if item.candidates
        }
        made = {item.model.name: make(workshops[item.model.name], item.due) for item in due if item.candidates}
        prover = Prover(planned, staged, made, workshops, serve, progress)
        proofs = prover.systems()
        made = prover.candidates()
        measured = {name: _measure(shop, made[name]) for name, shop in workshops.items() if targets}
        published = {
            item.model.name: publish(
                Publication(
                    staged[item.model.name],
                    proofs.get(item.model.name, Proof({}, {}, {})),
                    made.get(item.model.name, []),
                    measured.get(item.model.name, {}),
                    target,
                ),
                progress,
            )
            for item in due
        }
        return [_result(item, published.get(item.model.name), quality if targets else "") for item in planned]


def _lost(
    wanted: Sequence[AnyModel], kind: type[LocalAsset | PinnedAsset], names: Sequence[str], progress: Progress
) -> set[Path]:
    """Fetches what models are made from; the declaring files of those systems that have to be left out.

    Raises:
        AssetUnavailable: a file of a system that was asked for is gone.
    """
    lost: set[Path] = set()
    for model in wanted:
        file = models.declared_in(model)
        if file in lost:
            continue
        assets = {name: asset for name, asset in pinned_assets(model).items() if isinstance(asset, kind)}
        try:
            fetch(assets, progress.say)
        except AssetUnavailable as error:
            if names:
                raise
            lost.add(file)
            progress.say(f"{file.stem}: skipped: {error}")
    return lost


def _unmeasured(planned: Planned) -> bool:
    """Whether no machine of this kind has measured the candidates of the version that stands."""
    if planned.latest is None or not planned.candidates:
        return False
    return hardware().name not in manifest.read(planned.latest).measurements


def _measure(workshop: Workshop, made: Sequence[Made]) -> dict[str, dict[str, Any]]:
    """The candidates of the coming version that run here, beside each other; by kind of machine."""
    from modelyard_build import measuring

    planned = workshop.staged.planned
    names = {one.name for one in made}
    there = [] if planned.reason or planned.latest is None else artefacts.published(planned.latest)
    before = [one for one in there if one.name not in names]
    machine = hardware()
    run_here = [one for one in (*before, *made) if one.runs_here]
    found = measuring.measure(workshop.model, workshop.module, run_here, workshop.files, workshop.progress)
    return {machine.name: {**measuring.describe(machine), **found}}


def _result(planned: Planned, published: Manifest | None, quality: str) -> Result:
    """What is told of a model; measurement and choice only where targets were asked for, which `quality` says."""
    if published is None:
        assert planned.latest is not None  # noqa: S101  # what has nothing to do has a version
        published = replace(manifest.read(planned.latest), seconds={})
    wanted = {item.candidate.name for item in planned.candidates}
    records = {name: record for name, record in published.candidates.items() if name in wanted}
    return Result(
        planned.model.name,
        published.version,
        bool(planned.reason),
        planned.reason,
        published.seconds,
        published.metrics,
        [item.candidate.name for item in planned.additions if not records[item.candidate.name]["refused"]],
        records,
        published.files,
        {item.candidate.name: item.unavailable for item in planned.candidates if item.unavailable},
        published.measurements.get(hardware().name, {}) if quality else {},
        _choose(planned, published, quality) if quality else None,
    )


def _choose(planned: Planned, published: Manifest, quality: str) -> Choice | None:
    machine = hardware()
    measurement = published.measurements.get(machine.name)
    if measurement is None or not isinstance(planned.model, Model):
        return None
    best = choose(measurement, published.candidates, machine, quality)
    return write_config(planned.model, planned.folder, measurement, best, machine)


@contextlib.contextmanager
def _exclusive(repository: Path) -> Iterator[None]:
    """One build at a time on a repository."""
    name = hashlib.sha256(str(repository.absolute()).encode()).hexdigest()[:16]
    path = cache_dir() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BuildError(f"another build is at work on {repository}. Wait for it to end.") from error
        yield
