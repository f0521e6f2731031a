"""Which candidates a model's next version has to hold: what was asked for, and what its configs name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard_build.errors import ConfigContradiction
from modelyard_build.model import Model
from modelyard_build.repository import config
from modelyard_build.sources import artefact_key, candidate_key
from modelyard_build.targets import CANDIDATES, PLAN_SUFFIX, here, pytorch, select, target_of
from modelyard_build.targets.target import Candidate

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


@dataclass(frozen=True)
class Wanted:
    """A candidate that is to be in the version.

    Attributes:
        candidate: the candidate.
        artefact_key: the hash over all that decides its files.
        key: the hash over these and its settings.
        unavailable: why it cannot be built here, in one line; empty when it can be.
        asked_by: the config file that names it; None where the caller asked.
    """

    candidate: Candidate
    artefact_key: str
    key: str
    unavailable: str
    asked_by: Path | None = None


def wanted(model: Model, folder: Path, model_key: str, targets: Sequence[str]) -> tuple[Wanted, ...]:
    """The candidates of a model's next version.

    Args:
        model: the declaration.
        folder: its folder in the repository; each of its configs must find its file in the version.
        model_key: the key of its graph.
        targets: what was asked for, see `targets.select`.

    Raises:
        UnknownTarget: a name that no target has.
        ConfigContradiction: a config that cannot be read.
    """
    asked: dict[str, Path | None] = {candidate.name: None for candidate in select(targets)}
    for candidate, path in named_by_configs(folder):
        asked.setdefault(candidate.name, path)
    return tuple(
        _wanted(model, candidate, model_key, asked[candidate.name]) for candidate in here() if candidate.name in asked
    )


def _wanted(model: Model, candidate: Candidate, model_key: str, asked_by: Path | None) -> Wanted:
    target = target_of(candidate)
    files = artefact_key(candidate, target.distributions, target.device_key(), model_key)
    unavailable = target.missing(candidate)
    if candidate.precision in ("int8", "fp8") and model.calibration is None:
        unavailable = "the model declares no calibration data"
    if model.graph and target.name == pytorch.TARGET.name:
        unavailable = "the model is an ONNX file: there is no PyTorch module to trace"
    return Wanted(candidate, files, candidate_key(candidate, files), unavailable, asked_by)


def named_by_configs(folder: Path) -> Iterator[tuple[Candidate, Path]]:
    """What config.pbtxt and each configs/*.pbtxt serve, with the file that says so.

    Raises:
        ConfigContradiction: a config names a file that no target writes.
    """
    for path in config.paths(folder):
        stated = config.read(path)
        same_file = [candidate for candidate in here() if serves_file(stated, candidate)]
        # An operator may run the same file through another provider, or with other settings.
        found = [candidate for candidate in same_file if serves(stated, candidate)] or same_file[:1]
        if not found:
            raise ConfigContradiction(
                f"{path}: backend {stated.backend or stated.platform!r} with the file "
                f"{config.filename(stated)!r} is nothing that the build makes: it makes "
                f"{', '.join(f'{item.filename} for {item.target}' for item in CANDIDATES)}."
            )
        yield from ((candidate, path) for candidate in found)


def serves(stated: ModelConfig, candidate: Candidate) -> bool:
    """Whether a config serves a candidate: its backend and its file, and the settings that set it apart."""
    return serves_file(stated, candidate) and _settings(stated) == _settings_of(candidate)


def serves_file(stated: ModelConfig, candidate: Candidate) -> bool:
    """Whether a config serves a candidate's file, with whatever settings."""
    filenames = (config.filename(stated), *stated.cc_model_filenames.values())
    files = {PLAN_SUFFIX.sub("", name) for name in filenames}
    own = PLAN_SUFFIX.sub("", candidate.filename)
    same_backend = config.backend_of(stated) == candidate.target
    return same_backend and own in files and _settings(stated) == _settings_of(candidate)


def _settings(stated: ModelConfig) -> tuple[bool, set[str]]:
    accelerators = stated.optimization.execution_accelerators
    names = {item.name for item in (*accelerators.gpu_execution_accelerator, *accelerators.cpu_execution_accelerator)}
    return "HINT_BF16" in stated.parameters, names


def _settings_of(candidate: Candidate) -> tuple[bool, set[str]]:
    names = {candidate.cpu_accelerator, candidate.gpu_accelerator[0] if candidate.gpu_accelerator else ""}
    return "HINT_BF16" in candidate.parameters, names - {""}
