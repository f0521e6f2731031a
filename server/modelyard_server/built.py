"""What of a repository can be served: the models that have a version, as have those that they call.

Configs are in git and versions are not, so a repository holds models that nobody has built on this machine. Decided by
the folders alone; whether a version loads is Triton's to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from modelyard_server.readiness import is_model_name

CONFIG = "config.pbtxt"


def model_folders(repository: Path) -> list[str]:
    """The names of the models that a repository holds, sorted.

    Raises:
        OSError: it cannot be read.
    """
    return sorted(path.name for path in repository.iterdir() if is_model_name(path.name) and path.is_dir())


def config_text(model: Path, config_name: str | None) -> str:
    """A model's configuration as Triton would read it; empty where there is none. Its mistakes are Triton's to tell."""
    named = model / "configs" / f"{config_name}.pbtxt"
    path = named if config_name and named.is_file() else model / CONFIG
    try:
        return without_comments(path.read_text(errors="replace"))
    except OSError:
        return ""


def without_comments(config: str) -> str:
    """What of a config.pbtxt Triton reads."""
    return re.sub(r"#.*", "", config)


def steps_of(config: str, models: Collection[str]) -> list[str]:
    """The models that one calls: the steps of an ensemble; of the others, those that a parameter of a step names.

    Args:
        config: the model's configuration without comments.
        models: the repository's models.
    """
    called = re.findall(r"\bmodel_name\s*:\s*[\"']([^\"']+)[\"']", config)
    named = re.findall(r"\bstring_value\s*:\s*[\"']([^\"']+)[\"']", config)
    return [*called, *(name for name in named if name in models)]


def has_version(model: Path) -> bool:
    """Whether a folder stands that Triton takes for a version: a number without a leading zero."""
    return any(re.fullmatch(r"[1-9]\d*", path.name) and path.is_dir() for path in model.iterdir())


def unbuilt(repository: Path, config_name: str | None = None) -> dict[str, str]:
    """The models that cannot be served because they are not built, with the reason.

    Args:
        repository: the model repository.
        config_name: the value of `--model-config-name`.

    Raises:
        OSError: it cannot be read.
    """
    models = model_folders(repository)
    found = {name: "it has no version" for name in models if not has_version(repository / name)}
    steps = {name: steps_of(config_text(repository / name, config_name), models) for name in models}
    # What is called may call others.
    while more := _waiting(steps, found):
        found.update(more)
    return dict(sorted(found.items()))


def _waiting(steps: dict[str, list[str]], missing: Collection[str]) -> dict[str, str]:
    return {
        name: f"it calls {next(step for step in called if step in missing)}, which has no version"
        for name, called in steps.items()
        if name not in missing and any(step in missing for step in called)
    }


def with_steps(repository: Path, names: Iterable[str], config_name: str | None = None) -> set[str]:
    """The models, and those that they call."""
    models = model_folders(repository)
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(steps_of(config_text(repository / name, config_name), models)) - found
    return found


def expected(repository: Path, models: Collection[str], config_name: str | None = None) -> set[str]:
    """The models that a server is to serve.

    Args:
        repository: the model repository.
        models: those that were asked for; empty: all that are built.
        config_name: the value of `--model-config-name`.

    Raises:
        OSError: the repository cannot be read.
    """
    if models:
        return with_steps(repository, models, config_name)
    return set(model_folders(repository)) - unbuilt(repository, config_name).keys()


def to_build(repository: Path, names: Collection[str], config_name: str | None = None) -> str:
    """The command that builds models; the steps of an ensemble are built with it."""
    models = model_folders(repository)
    steps = {step for name in names for step in steps_of(config_text(repository / name, config_name), models)}
    return f"modelyard build {' '.join(sorted(set(names) - steps))}"
