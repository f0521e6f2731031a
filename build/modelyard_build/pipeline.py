"""The build, read top to bottom: plan, stage, prove through a server, publish.

Nothing is published before everything that is served together was proven together.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard_build import models
from modelyard_build.assets import cache_dir, fetch
from modelyard_build.atomic import replacing
from modelyard_build.errors import BuildError
from modelyard_build.model import AnyModel, Ensemble, PythonModel, Tensor
from modelyard_build.plan import Planned, plan
from modelyard_build.progress import Progress, Stopwatch
from modelyard_build.repository import config, manifest, samples, versions
from modelyard_build.repository.manifest import Manifest
from modelyard_build.repository.releases import DEFAULT_RELEASE, Release, release
from modelyard_build.served import Serve, Served, evaluate, verify_ensemble, verify_python_model
from modelyard_build.sources import asset_hashes, libraries, pinned_assets
from modelyard_build.stage import Staged, cached_arrays, rows, stage, warmup_tensors, write_golden


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
    """

    model: str
    version: int
    built: bool
    reason: str
    seconds: dict[str, float]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """What the served verification of one model brought."""

    evidence: dict[str, Any]
    metrics: dict[str, Any]
    seconds: dict[str, float]


def build(names: Sequence[str], repository: Path, serve: Serve, progress: Progress) -> list[Result]:
    """Brings models, the steps of their ensembles and the ensembles that use them up to date.

    Args:
        names: models; all of them when empty.
        repository: the model repository; made when missing.
        serve: starts a Triton over a staged repository.
        progress: shows the work.

    Returns:
        One result a model, steps before their ensembles.

    Raises:
        BuildError: of any kind; nothing of the failing system is published.
    """
    with _exclusive(repository):
        planned = plan(models.systems(names), repository)
        stale = [item for item in planned if item.reason]
        target = release(DEFAULT_RELEASE)
        staged = {item.model.name: stage(item, target, progress) for item in stale}
        proofs = _prove(planned, staged, serve, progress)
        published = {
            item.model.name: _publish(staged[item.model.name], proofs[item.model.name], target, progress)
            for item in stale
        }
        return [_result(item, published.get(item.model.name)) for item in planned]


def _result(planned: Planned, published: Manifest | None) -> Result:
    if published:
        return Result(planned.model.name, published.version, True, planned.reason, published.seconds, published.metrics)
    assert planned.latest is not None  # noqa: S101  # what has nothing to do has a version
    current = manifest.read(planned.latest)
    return Result(planned.model.name, current.version, False, "", {}, current.metrics)


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


# Proving


def _prove(planned: Sequence[Planned], staged: dict[str, Staged], serve: Serve, progress: Progress) -> dict[str, Proof]:
    """Proves every stale model; those that need a server share one, and what was proven before is remembered."""
    proofs = {name: Proof(item.evidence, {}, {}) for name, item in staged.items()}
    to_serve = [
        item for item in planned if item.model.name in staged and isinstance(item.model, Ensemble | PythonModel)
    ]
    remembered = {item.model.name: _proof_path(item, planned) for item in to_serve}
    open_ = [item for item in to_serve if not remembered[item.model.name].is_file()]
    if open_:
        with _scratch_repository(planned, staged) as repository, _started(repository, serve, progress) as served:
            for item in open_:
                _remember(remembered[item.model.name], _prove_served(item, served, progress, staged))
    for item in to_serve:
        proofs[item.model.name] = Proof(**json.loads(remembered[item.model.name].read_text()))
    return proofs


def _proof_path(planned: Planned, others: Sequence[Planned]) -> Path:
    """Where a proof is kept: addressed by the artefacts' keys and by the configs they are served with."""
    involved = [item for item in others if item.model.name == planned.model.name or item.model.name in planned.steps]
    paths = [item.folder / config.FILENAME for item in involved]
    texts = [path.read_text() if path.exists() else "" for path in paths]
    decisive = [[item.key for item in involved], texts]
    return cache_dir() / "proofs" / f"{hashlib.sha256(json.dumps(decisive).encode()).hexdigest()}.json"


def _remember(path: Path, proof: Proof) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps({"evidence": proof.evidence, "metrics": proof.metrics, "seconds": proof.seconds}))


@contextlib.contextmanager
def _started(repository: Path, serve: Serve, progress: Progress) -> Iterator[Served]:
    with contextlib.ExitStack() as stack:
        with progress.step("Triton", "start"):
            served = stack.enter_context(serve(repository))
        yield served


@contextlib.contextmanager
def _scratch_repository(planned: Sequence[Planned], staged: dict[str, Staged]) -> Iterator[Path]:
    """A repository of the whole system as it would be after publishing, version 1 each."""
    with tempfile.TemporaryDirectory(prefix="modelyard-build-") as folder:
        for item in planned:
            model_folder = Path(folder) / item.model.name
            made = staged.get(item.model.name)
            version = made.files if made else item.latest
            assert version is not None  # noqa: S101  # neither stale nor published cannot be
            beside = made.beside if made else item.folder
            _lay_out(item, beside, model_folder)
            (model_folder / "1").symlink_to(version.absolute())
        yield Path(folder)


def _lay_out(planned: Planned, beside: Path, model_folder: Path) -> None:
    """Config, labels and warmup as in the repository, or as they will be written there."""
    model_folder.mkdir(parents=True)
    for name in (samples.LABELS, samples.WARMUP):
        source = planned.folder / name if (planned.folder / name).exists() else beside / name
        if source.is_dir():
            shutil.copytree(source, model_folder / name)
        elif source.exists():
            shutil.copyfile(source, model_folder / name)
    text = _config_text(planned.model, planned.folder, beside)
    (model_folder / config.FILENAME).write_text(text)


def _config_text(model: AnyModel, folder: Path, beside: Path) -> str:
    path = folder / config.FILENAME
    return path.read_text() if path.exists() else config.render(model, warmup_tensors(model, beside))


def _prove_served(planned: Planned, served: Served, progress: Progress, staged: dict[str, Staged]) -> Proof:
    model = planned.model
    watch = Stopwatch(model.name, progress)
    files = fetch(pinned_assets(model), progress.say)
    if isinstance(model, PythonModel):
        with watch.step("verify served"):
            evidence = verify_python_model(model, served, files, items=200)
        return Proof(evidence, {}, watch.seconds)
    assert isinstance(model, Ensemble)  # noqa: S101  # `_prove` hands in nothing else
    with watch.step("PyTorch"):
        inputs = model.examples(files, model.verified_items)
        reference = cached_arrays(f"{planned.key}-examples", lambda: model.reference(files, inputs))
    with watch.step("verify served"):
        evidence = verify_ensemble(model, served, inputs, reference)
        count = model.golden_items
        write_golden(staged[model.name].beside, rows(inputs)[:count], rows(reference)[:count])
    return Proof(evidence, _evaluate(planned, model, served, files, watch), watch.seconds)


def _evaluate(
    planned: Planned, model: Ensemble, served: Served, files: dict[str, Path], watch: Stopwatch
) -> dict[str, Any]:
    if model.evaluation is None:
        return {}
    inputs, truth = model.evaluation.data(files)
    with watch.step("evaluate PyTorch"):
        reference = cached_arrays(f"{planned.key}-evaluation", lambda: model.reference(files, inputs))
    with watch.step("evaluate served"):
        answers = served.infer(model.name, inputs, "grpc")
    return evaluate(model, model.evaluation, reference, answers, truth)


# Publishing


def _publish(staged: Staged, proof: Proof, target: Release, progress: Progress) -> Manifest:
    planned = staged.planned
    watch = Stopwatch(planned.model.name, progress)
    written: list[Manifest] = []

    def finish(folder: Path, version: int) -> None:
        seconds = {**staged.seconds, **proof.seconds}
        written.append(_manifest(staged, proof, target, version, manifest.describe_files(folder), seconds))
        manifest.write(written[0], folder)

    with watch.step("publish"):
        _write_beside(staged)
        versions.publish(staged.files, planned.folder, finish)
    return written[0]


def _write_beside(staged: Staged) -> None:
    """What stands beside the versions belongs to people once it is there: only what is missing is written."""
    folder, beside = staged.planned.folder, staged.beside
    for path in sorted(path for path in beside.rglob("*") if path.is_file()):
        versions.write_missing(folder / path.relative_to(beside), path.read_bytes())
    text = _config_text(staged.planned.model, folder, beside)
    versions.write_missing(folder / config.FILENAME, text.encode())


def _manifest(
    staged: Staged,
    proof: Proof,
    target: Release,
    version: int,
    files: dict[str, dict[str, Any]],
    seconds: dict[str, float],
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
        metrics=proof.metrics,
        seconds=seconds,
    )


def _signature(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "dims": list(tensor.config_dims)}
