"""A system's line: its weights, what serves it here, the task's figures, how far its answers are from PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard_build import models
from modelyard_build.assets import PinnedAsset
from modelyard_build.model import AnyModel, Model, PythonModel, composing
from modelyard_build.repository import layout, manifest, versions
from modelyard_build.targets import BASE
from modelyard_build.wanted import named_by_configs


@dataclass(frozen=True)
class Row:
    """What the manifests say of a system.

    Attributes:
        system: the name of the model that clients call.
        weights: the packages that they come from.
        target: the candidates that serve it on this machine.
        figures: each of the task's figures, served and PyTorch's.
        parity: how the served answers were held against PyTorch's.
    """

    system: str
    weights: str
    target: str
    figures: str
    parity: str


def called_by_clients(names: Sequence[str] = ()) -> list[AnyModel]:
    """The models of the systems that no other model calls; of all systems where none is named."""
    wanted = models.systems(names)
    called = {name for model in wanted for name in composing(model)}
    # What keeps state in front of a system, and is called by nobody, is one of its own.
    return [model for model in wanted if model.name not in called or model.evaluation is not None]


def row(model: AnyModel, repository: Path, config_name: str | None) -> Row:
    """Reads a system's line out of its manifests.

    Args:
        model: which clients call.
        repository: the model repository.
        config_name: the value of `--model-config-name`.
    """
    together = list(_together(model))
    nets = [each for each in together if isinstance(each, Model)]
    served = {net.name: _candidate(repository / net.name, config_name) for net in nets}
    found = _manifest(repository / model.name)
    records = [_manifest(repository / name).candidates[candidate] for name, candidate in served.items()]
    metrics = next((record["metrics"][model.name] for record in records if record.get("metrics")), found.metrics)
    proofs: Iterator[dict[str, Any]] = (record["served"] for record in records if record.get("served"))
    evidence = next(proofs, {}).get(model.name)
    return Row(
        model.name,
        ", ".join(dict.fromkeys(package for each in together for package in _packages(each))) or "made here",
        ", ".join(dict.fromkeys(served.values())) or "python",
        _figures(metrics),
        _parity(evidence or found.verification),
    )


def _together(model: AnyModel) -> Iterator[AnyModel]:
    """A model, what it calls, and what these call."""
    yield model
    for name in composing(model):
        yield from _together(models.find(name))


def _packages(model: AnyModel) -> list[str]:
    """The package of the first file that a net is made of, or that a step serves or writes what it serves from."""
    written = isinstance(model, Model) or (isinstance(model, PythonModel) and model.write is not None)
    assets = model.assets if written else model.files if isinstance(model, PythonModel) else {}
    pinned = [asset for asset in assets.values() if isinstance(asset, PinnedAsset)]
    return [str(pinned[0].package)] if pinned else []


def _candidate(folder: Path, config_name: str | None) -> str:
    """The candidate that a model's config serves."""
    path = folder / layout.CONFIGS / f"{config_name}.pbtxt"
    path = path if config_name and path.is_file() else folder / layout.FILENAME
    return next((candidate.name for candidate, found in named_by_configs(folder) if found == path), BASE.name)


def _manifest(folder: Path) -> manifest.Manifest:
    latest = versions.latest(folder)
    assert latest is not None  # noqa: S101  # what is served was built
    return manifest.read(latest)


def _figures(metrics: Mapping[str, Any]) -> str:
    served, pytorch = metrics.get("served", {}), metrics.get("pytorch", {})
    return "\n".join(f"{name} {value:.4g} / {pytorch[name]:.4g}" for name, value in served.items())


def _parity(evidence: Mapping[str, Any]) -> str:
    """The worst cosine of any output, or that the outputs are equal."""
    over = evidence.get("grpc", evidence)
    cosines = [found["min_cosine"] for found in over.values() if isinstance(found, dict) and "min_cosine" in found]
    if cosines:
        return f"cosine {min(cosines):.7f}"
    if evidence.get("judged_by_figures"):
        return "by its figures"
    return f"equal, {evidence['items']} items" if evidence.get("equal") else ""
