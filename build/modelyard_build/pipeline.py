"""The build, read top to bottom: plan, stage, make and prove every candidate, prove through a server, publish.

Nothing is published before everything that is served together was proven together.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelyard_build import artefacts, models, scratch
from modelyard_build.artefacts import Made, as_record
from modelyard_build.assets import cache_dir
from modelyard_build.errors import BuildError, PublishFailed
from modelyard_build.model import Tensor
from modelyard_build.plan import Planned, plan
from modelyard_build.progress import Progress, Stopwatch
from modelyard_build.proving import Proof, Prover
from modelyard_build.repository import config, manifest, versions
from modelyard_build.repository.manifest import Manifest
from modelyard_build.repository.releases import DEFAULT_RELEASE, Release, release
from modelyard_build.served import Serve
from modelyard_build.sources import asset_hashes, libraries
from modelyard_build.stage import Staged, stage


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
        refused: the candidates that were asked for and are not published, with the reason.
        unavailable: the candidates that cannot be built on this machine, with the reason.
    """

    model: str
    version: int
    built: bool
    reason: str
    seconds: dict[str, float]
    metrics: dict[str, Any]
    added: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)


def build(
    names: Sequence[str], repository: Path, serve: Serve, progress: Progress, targets: Sequence[str] = ()
) -> list[Result]:
    """Brings models, the steps of their ensembles and the ensembles that use them up to date.

    Args:
        names: models; all of them when empty.
        repository: the model repository; made when missing.
        serve: starts a Triton over a staged repository.
        progress: shows the work.
        targets: what is to be made beside the portable artefact and what the configs name, see `targets.select`.

    Returns:
        One result a model, steps before their ensembles.

    Raises:
        BuildError: of any kind; nothing of the failing system is published.
    """
    with _exclusive(repository):
        planned = plan(models.systems(names), repository, targets)
        due = [item for item in planned if item.reason or item.additions]
        target = release(DEFAULT_RELEASE)
        staged = {item.model.name: stage(item, target, progress) for item in due}
        made = {
            item.model.name: artefacts.make(staged[item.model.name], item.due, target, progress)
            for item in due
            if item.due
        }
        prover = Prover(planned, staged, made, serve, progress)
        proofs = prover.systems()
        made = prover.candidates()
        published = {
            item.model.name: _publish(staged[item.model.name], proofs, made.get(item.model.name, []), target, progress)
            for item in due
        }
        return [_result(item, published.get(item.model.name)) for item in planned]


def _result(planned: Planned, published: Manifest | None) -> Result:
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
        {name: record["refused"] for name, record in records.items() if record["refused"]},
        {item.candidate.name: item.unavailable for item in planned.candidates if item.unavailable},
    )


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


# Publishing


def _publish(
    staged: Staged, proofs: Mapping[str, Proof], made: Sequence[Made], target: Release, progress: Progress
) -> Manifest:
    planned = staged.planned
    watch = Stopwatch(planned.model.name, progress)
    with watch.step("publish"):
        _write_beside(staged)
        if not planned.reason:
            return _add(planned, made)
        return _publish_version(staged, proofs.get(planned.model.name, Proof({}, {}, {})), made, target)


def _publish_version(staged: Staged, proof: Proof, made: Sequence[Made], target: Release) -> Manifest:
    written: list[Manifest] = []

    def finish(folder: Path, version: int) -> None:
        written.append(_manifest(staged, proof, made, target, version, manifest.describe_files(folder)))
        manifest.write(written[0], folder)

    versions.publish([staged.files, *_folders(made)], staged.planned.folder, finish)
    return written[0]


def _add(planned: Planned, made: Sequence[Made]) -> Manifest:
    """Completes a version that is there with further candidates."""
    assert planned.latest is not None  # noqa: S101  # there are additions only to a version
    before = manifest.read(planned.latest)
    fresh = {
        name: described for folder in _folders(made) for name, described in manifest.describe_files(folder).items()
    }
    for name, described in fresh.items():
        if name in before.files and before.files[name]["sha256"] != described["sha256"]:
            raise PublishFailed(
                f"{planned.latest / name} is published, and now comes out otherwise; a published file is never "
                "replaced. Change the model's source, or remove the version, and a new one is built."
            )
    after = replace(
        before,
        files={**before.files, **fresh},
        candidates={**before.candidates, **{one.name: as_record(one) for one in made}},
    )
    versions.add(_folders(made), planned.latest, before.files.keys(), lambda folder: manifest.write(after, folder))
    return after


def _folders(made: Sequence[Made]) -> list[Path]:
    """Each folder once: candidates that differ in their settings alone share their files."""
    return list(dict.fromkeys(one.folder for one in made if not one.refused))


def _write_beside(staged: Staged) -> None:
    """What stands beside the versions belongs to people once it is there: only what is missing is written."""
    folder, beside = staged.planned.folder, staged.beside
    for path in sorted(path for path in beside.rglob("*") if path.is_file()):
        versions.write_missing(folder / path.relative_to(beside), path.read_bytes())
    text = scratch.config_text(staged.planned.model, folder, beside)
    versions.write_missing(folder / config.FILENAME, text.encode())


def _manifest(
    staged: Staged,
    proof: Proof,
    made: Sequence[Made],
    target: Release,
    version: int,
    files: dict[str, dict[str, Any]],
) -> Manifest:
    planned = staged.planned
    return Manifest(
        model=planned.model.name,
        version=version,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        key=planned.key,
        sources=planned.sources,
        assets=asset_hashes(planned.model),
        libraries=libraries(),
        target={"release": target.name, "triton": target.triton, "onnxruntime": target.onnxruntime},
        signature={
            "max_batch_size": planned.model.max_batch_size,
            "inputs": [_signature(tensor) for tensor in planned.model.inputs],
            "outputs": [_signature(tensor) for tensor in planned.model.outputs],
        },
        steps=planned.steps,
        files=files,
        verification=proof.evidence,
        candidates={one.name: as_record(one) for one in made},
        metrics=proof.metrics,
        seconds={**staged.seconds, **proof.seconds},
    )


def _signature(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "dims": list(tensor.config_dims)}
