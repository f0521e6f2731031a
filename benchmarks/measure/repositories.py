"""Model repositories for a benchmark: links to what is published, with the configs that are to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard_build.model import Model
from modelyard_build.repository import config, layout, versions
from modelyard_build.stage import warmup_tensors
from modelyard_build.targets import target_of
from modelyard_build.targets.target import Candidate
from modelyard_server.errors import ServerError


def linked(repository: Path, models: Sequence[str], folder: Path) -> Path:
    """A repository of these models alone.

    Raises:
        ServerError: one of them has no version.
    """
    folder.mkdir(parents=True)
    for name in models:
        newest(repository, name)
        (folder / name).symlink_to((repository / name).resolve())
    return folder


def with_candidate(repository: Path, models: Sequence[str], owner: Model, candidate: Candidate, folder: Path) -> Path:
    """The same, where one model's config is the one that the build writes for a candidate.

    Raises:
        ServerError: one of them has no version, or it lacks the candidate's file.
    """
    linked(repository, [name for name in models if name != owner.name], folder)
    latest = newest(repository, owner.name)
    if not (latest / candidate.filename).exists():
        raise ServerError(
            f"{latest} has no {candidate.filename}: run `modelyard build {owner.name} --targets {candidate.name}` first"
        )
    own, beside = folder / owner.name, repository / owner.name
    own.mkdir()
    (own / latest.name).symlink_to(latest.resolve())
    for path in beside.iterdir():
        if path.name not in (layout.FILENAME, layout.CONFIGS) and not path.name.isdigit():
            (own / path.name).symlink_to(path.resolve())
    text = config.render(owner, warmup_tensors(owner, beside), target_of(candidate).serving(candidate, owner))
    (own / layout.FILENAME).write_text(text)
    return folder


def newest(repository: Path, name: str) -> Path:
    """The newest version's folder.

    Raises:
        ServerError: nothing is built.
    """
    latest = versions.latest(repository / name)
    if latest is None:
        raise ServerError(f"no version of {name} in {repository}: run `modelyard build {name}` first")
    return latest


def stated_config(repository: Path, name: str, config_name: str) -> Any:
    """The config that a server with `--model-config-name` takes, as a ModelConfig message."""
    own = repository / name / layout.CONFIGS / f"{config_name}.pbtxt"
    return config.read(own if own.is_file() else repository / name / layout.FILENAME)
