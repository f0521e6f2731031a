"""What was proven goes into the repository: as a new version, or into one that lacks it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard_build import scratch
from modelyard_build.artefacts import Made, as_record
from modelyard_build.assets import sha256_of
from modelyard_build.errors import PublishFailed
from modelyard_build.plan import Planned
from modelyard_build.progress import Progress, Stopwatch
from modelyard_build.proving import Proof
from modelyard_build.repository import config, layout, manifest, versions
from modelyard_build.repository.agreement import difference, signature
from modelyard_build.repository.manifest import Manifest
from modelyard_build.repository.releases import Release
from modelyard_build.sources import asset_hashes, libraries
from modelyard_build.stage import Staged


@dataclass(frozen=True)
class Publication:
    """What goes into the repository for one model.

    Attributes:
        staged: its files and samples.
        proof: what the served verification brought.
        made: its candidates.
        measured: their measurements, by kind of machine.
        target: the release it was made for.
    """

    staged: Staged
    proof: Proof
    made: Sequence[Made]
    measured: Mapping[str, dict[str, Any]]
    target: Release

    @property
    def folders(self) -> list[Path]:
        """Each candidate's folder once: those that differ in their settings alone share their files."""
        return list(dict.fromkeys(one.folder for one in self.made if not one.refused))


def publish(publication: Publication, progress: Progress) -> Manifest:
    """Publishes a model's version, or adds to it; returns its manifest.

    Raises:
        PublishFailed: the repository cannot be written, or a published file would change.
    """
    planned = publication.staged.planned
    watch = Stopwatch(planned.model.name, progress)
    _check_distinct(publication)
    with watch.step("publish"):
        _write_beside(publication.staged)
        if not planned.reason:
            return _add(planned, publication)
        changed = _changed_beside(publication.staged)
        published = _publish_version(publication, changed)
    for path, (before, after) in changed.items():
        if path.suffix == ".pbtxt":
            progress.say(difference(path, config.decoded(before), config.decoded(after)))
    return published


def _check_distinct(publication: Publication) -> None:
    """A file of one candidate must not take the place of another's: they lie side by side in the version."""
    found: dict[str, list[Path]] = {}
    for folder in publication.folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            found.setdefault(path.relative_to(folder).as_posix(), []).append(path)
    for name, paths in found.items():
        if len(paths) > 1 and len({sha256_of(path) for path in paths}) > 1:
            raise PublishFailed(
                f"{publication.staged.planned.model.name}: {name} comes out of two candidates and differs; one of them "
                "would be served from the other's. Leave one of them out of --targets."
            )


def _publish_version(publication: Publication, changed: Mapping[Path, tuple[bytes, bytes]]) -> Manifest:
    written: list[Manifest] = []

    def finish(folder: Path, version: int) -> None:
        written.append(_manifest(publication, version, manifest.describe_files(folder)))
        manifest.write(written[0], folder)

    staged = publication.staged
    # The configs change when the version is complete on the disk, right before it takes its name. A server that polls
    # in between finds the new configs beside the old version, and keeps what it has loaded until it polls again. Where
    # the build is killed there, the next one finds the configs as they have to be, and publishes the version.
    beside = versions.replaced({path: after for path, (_, after) in changed.items()})
    versions.publish([staged.files, *publication.folders], staged.planned.folder, finish, beside)
    return written[0]


def _add(planned: Planned, publication: Publication) -> Manifest:
    """Completes a version that is there with further candidates."""
    assert planned.latest is not None  # noqa: S101  # there are additions only to a version
    before = manifest.read(planned.latest)
    fresh = {
        name: described for folder in publication.folders for name, described in manifest.describe_files(folder).items()
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
        candidates={**before.candidates, **{one.name: as_record(one) for one in publication.made}},
        measurements={**before.measurements, **publication.measured},
    )
    versions.add(publication.folders, planned.latest, before.files.keys(), lambda folder: manifest.write(after, folder))
    return after


def _write_beside(staged: Staged) -> None:
    """What stands beside the versions belongs to people once it is there: only what is missing is written."""
    folder, beside = staged.planned.folder, staged.beside
    for path in sorted(path for path in beside.rglob("*") if path.is_file()):
        versions.write_missing(folder / path.relative_to(beside), path.read_bytes())
    path = folder / layout.FILENAME
    versions.write_missing(path, config.bytes_of(scratch.config_text(staged.planned, path, beside)))


def _changed_beside(staged: Staged) -> dict[Path, tuple[bytes, bytes]]:
    """What stands beside the versions and has to follow the new one, with what is in it now and then."""
    folder = staged.planned.folder
    found: dict[Path, tuple[bytes, bytes]] = {}
    for path in config.paths(folder):
        found[path] = (path.read_bytes(), config.bytes_of(scratch.config_text(staged.planned, path, staged.beside)))
    for name, source in scratch.stands_beside(staged.planned, staged.beside).items():
        found[folder / name] = ((folder / name).read_bytes(), source.read_bytes())
    return {path: contents for path, contents in found.items() if contents[0] != contents[1]}


def _manifest(publication: Publication, version: int, files: dict[str, dict[str, Any]]) -> Manifest:
    planned, target = publication.staged.planned, publication.target
    return Manifest(
        model=planned.model.name,
        version=version,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        key=planned.key,
        sources=planned.sources,
        assets=asset_hashes(planned.model),
        libraries=libraries(),
        target={"release": target.name, "triton": target.triton, "onnxruntime": target.onnxruntime},
        signature=signature(planned.model),
        steps=planned.steps,
        files=files,
        verification=publication.proof.evidence,
        candidates={one.name: as_record(one) for one in publication.made},
        measurements=dict(publication.measured),
        metrics=publication.proof.metrics,
        seconds={**publication.staged.seconds, **publication.proof.seconds},
        beside={name: sha256_of(path) for name, path in scratch.files_beside(publication.staged.beside).items()},
    )
