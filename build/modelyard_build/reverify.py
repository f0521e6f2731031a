"""What is published, proven again: each file as it lies in the version, and the system as its configs serve it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard_build import artefacts, models, scratch
from modelyard_build.artefacts import Made, Workshop
from modelyard_build.errors import ArtefactFailed, BuildError, ServeFailed, VerificationFailed
from modelyard_build.model import Model
from modelyard_build.plan import Planned, plan
from modelyard_build.progress import Progress
from modelyard_build.proving import Prover
from modelyard_build.repository.releases import target_release
from modelyard_build.served import Serve
from modelyard_build.stage import Staged
from modelyard_build.targets import target_of
from modelyard_build.targets.target import of_items


@dataclass(frozen=True)
class Finding:
    """What one proof brought.

    Attributes:
        model: the model.
        version: its version.
        what: the candidate, or how it was served.
        evidence: the figures; empty where it failed or did not run.
        failed: why it does not hold; empty where it does.
        skipped: why it was not tried, in a line.
    """

    model: str
    version: int
    what: str
    evidence: dict[str, Any]
    failed: str = ""
    skipped: str = ""


def verify(names: Sequence[str], repository: Path, serve: Serve | None, progress: Progress) -> Iterator[Finding]:
    """Proves the newest versions of models, and of all that is served together with them.

    Args:
        names: models; all of them when empty.
        repository: the model repository.
        serve: starts a Triton over a repository; None leaves the proofs through a server out.
        progress: shows the work.

    Raises:
        BuildError: a version is missing, damaged, or was made from other sources than those here.
    """
    planned = plan(models.systems(names), repository)
    for item in planned:
        if item.reason:
            raise BuildError(
                f"{item.model.name} cannot be verified: {item.reason}. Build it first: "
                f"modelyard build {item.model.name}"
            )
    made = {item.model.name: artefacts.published(_latest(item)) for item in planned if isinstance(item.model, Model)}
    staged = {item.model.name: _as_staged(item) for item in planned}
    workshops = {name: Workshop(staged[name], target_release(), progress) for name in made}
    for name, workshop in workshops.items():
        yield from (_in_process(workshop, one) for one in made[name])
    if serve is not None:
        yield from _through_server(Prover(planned, staged, made, workshops, serve, progress))


def _latest(planned: Planned) -> Path:
    assert planned.latest is not None  # noqa: S101  # checked: nothing is due
    return planned.latest


def _as_staged(planned: Planned) -> Staged:
    """A version in the place of what a build would have staged."""
    return Staged(planned, _latest(planned), planned.folder, _latest(planned), {})


def _in_process(workshop: Workshop, one: Made) -> Finding:
    from modelyard_build.verify import compare

    candidate, planned = one.wanted.candidate, workshop.staged.planned
    version, target = int(_latest(planned).name), target_of(candidate)
    if reason := one.wanted.unavailable or target.cannot_run(candidate):
        return Finding(planned.model.name, version, one.name, {}, skipped=reason)
    try:
        with workshop.progress.step(planned.model.name, f"verify {one.name}"):
            run = of_items(workshop.model, target.runner(candidate, one.folder, workshop.model))
            evidence = compare(workshop.reference, run, candidate.quality)
    except (ArtefactFailed, VerificationFailed) as error:
        return Finding(planned.model.name, version, one.name, {}, failed=str(error))
    return Finding(planned.model.name, version, one.name, evidence["outputs"])


def _through_server(prover: Prover) -> Iterator[Finding]:
    with scratch.system(prover.planned, {}, {}) as repository, prover.serve(repository) as triton:
        for item in prover.served:
            yield _guarded(item, "through Triton", lambda item=item: prover.prove(item, triton).evidence)
    for item in prover.planned:
        for one in prover.made.get(item.model.name, []):
            if one.runs_here and not one.wanted.candidate.by_hand:
                what = f"{one.name} through Triton"
                yield _guarded(item, what, lambda item=item, one=one: prover.prove_candidate(item, one).evidence)


def _guarded(planned: Planned, what: str, prove: Any) -> Finding:
    version = int(_latest(planned).name)
    try:
        return Finding(planned.model.name, version, what, prove())
    except (VerificationFailed, ServeFailed) as error:
        return Finding(planned.model.name, version, what, {}, failed=str(error))
