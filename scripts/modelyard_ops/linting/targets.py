"""What is meant by the paths of `modelyard lint`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelyard_build.repository.layout import CONFIGS, FILENAME
from modelyard_build.repository.lint.deployments import SUFFIXES
from modelyard_build.repository.lint.files import Entry, listing
from modelyard_build.repository.lint.version_names import is_version
from modelyard_ops.errors import CannotRun
from modelyard_ops.linting.settings import Table
from modelyard_ops.paths import DEFAULT_REPOSITORY

# What is looked for where neither the command line nor the settings name a path.
DEFAULT_DEPLOYMENTS = ("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml", "deploy")


@dataclass
class Targets:
    """What is to be linted; all paths are absolute.

    Attributes:
        repositories: folders of models that one server is given together.
        only: folders of models, or whole repositories, that findings are wanted about; empty: about all.
        deployments: files that say how servers are started, each with whether somebody named it.
    """

    repositories: list[Path] = field(default_factory=list)
    only: set[Path] = field(default_factory=set)
    deployments: dict[Path, bool] = field(default_factory=dict)


def targets(paths: Sequence[Path], table: Table) -> Targets:
    """What to lint.

    Args:
        paths: repositories, folders of models, configs, deployment files, or folders of such; may be empty.
        table: says what an empty list means.

    Raises:
        CannotRun: a path is missing, or is nothing that can be linted.
    """
    found = Targets()
    for path in paths or _repositories(table):
        _add(found, _absolute(path))
    if not paths:
        for path in _deployments(table):
            _add_deployments(found, _absolute(path))
    if found.only >= set(found.repositories):
        found.only.clear()
    return found


def _repositories(table: Table) -> Sequence[Path]:
    """Those that are linted where nothing is named.

    Raises:
        CannotRun: there is none.
    """
    if table.repositories or table.deployments:
        return table.repositories
    if not DEFAULT_REPOSITORY.exists():
        raise CannotRun(
            f"there is no {DEFAULT_REPOSITORY}/ in {Path.cwd()}. Run this in the project's root, name a path, "
            "or set `repositories` under [tool.modelyard.lint] in pyproject.toml."
        )
    return [DEFAULT_REPOSITORY]


def _deployments(table: Table) -> Sequence[Path]:
    """Files and folders of files that are linted where nothing is named."""
    if table.repositories or table.deployments:
        return table.deployments
    return [Path(name) for name in DEFAULT_DEPLOYMENTS if Path(name).exists()]


def _add_deployments(found: Targets, path: Path) -> None:
    """A file, or those of a folder; there may be none."""
    if path.is_dir():
        found.deployments.update((file, False) for file in _yaml_files(path) if file not in found.deployments)
    else:
        _add(found, path)


def _absolute(path: Path) -> Path:
    """Without links resolved: a model's name is that of its folder as it was named."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve follows links, Path.absolute keeps "..")


def _add(found: Targets, path: Path) -> None:
    """Sorts one path in.

    Raises:
        CannotRun: it is missing, or is nothing that can be linted.
    """
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where access is denied)
        _add_folder(found, path)
    elif path.name == FILENAME:
        _add_model(found, path.parent, path)
    elif path.suffix == ".pbtxt" and path.parent.name == CONFIGS:
        _add_model(found, path.parent.parent, path)
    elif not os.path.lexists(path):
        raise CannotRun(f"{path} is not there. Expected a repository, a model's folder, a config or a YAML file.")
    elif path.suffix in SUFFIXES:
        found.deployments[path] = True
    else:
        raise CannotRun(
            f"{path} cannot be linted. Expected a repository, a model's folder, config.pbtxt, configs/NAME.pbtxt, or "
            "the YAML of Docker Compose or Kubernetes; of an artefact name the model's folder."
        )


def _add_folder(found: Targets, path: Path) -> None:
    entries, error = listing(path)
    if error is not None:
        raise CannotRun(f"{path} cannot be listed: {error.strerror}.")
    if FILENAME in entries or CONFIGS in entries or any(_is_version(entry, path) for entry in entries.values()):
        _add_model(found, path, path)
    elif any(_is_model(path / entry.name) for entry in entries.values() if entry.is_folder):
        _add_repository(found, path)
    elif any(_yaml_files(path)):
        _add_deployments(found, path)
    elif any(entry.is_folder for entry in entries.values()):
        _add_repository(found, path)
    else:
        raise CannotRun(f"{path} holds no model: expected folders with a {FILENAME}, or YAML files.")


def _add_model(found: Targets, folder: Path, named: Path) -> None:
    if not os.path.lexists(named):
        raise CannotRun(f"{named} is not there. Expected a repository, a model's folder, a config or a YAML file.")
    found.only.add(folder)
    if folder.parent not in found.repositories:
        found.repositories.append(folder.parent)


def _add_repository(found: Targets, path: Path) -> None:
    found.only.add(path)
    if path not in found.repositories:
        found.repositories.append(path)


def _is_version(entry: Entry, folder: Path) -> bool:
    """Whether a folder is a version; a model may be called by a number, too."""
    return entry.is_folder and is_version(entry.name) and FILENAME not in listing(folder / entry.name)[0]


def _is_model(folder: Path) -> bool:
    entries = listing(folder)[0]
    return FILENAME in entries or any(entry.is_folder and is_version(entry.name) for entry in entries.values())


def _yaml_files(folder: Path) -> Iterator[Path]:
    """The YAML files of a folder and those below; links to folders are not followed."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(files) if name.endswith(SUFFIXES))
