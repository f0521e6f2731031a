"""Every model that `modelyard build` knows. A new system is a file here and a line in the list."""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from modelyard_build.errors import BrokenDeclaration, UnknownModel
from modelyard_build.model import AnyModel, composing

FOLDER = Path(__file__).parent
# The files of this folder. Each declares MODELS: steps before the ensembles that use them.
SYSTEMS = (
    "text_embedder",
    "passage_embedder",
    "ticket_classifier",
    "image_classifier",
    "image_generator",
    "imaging_triage",
    "speech",
    "chat",
    "demand_forecaster",
)


@dataclass(frozen=True)
class System:
    """What one file declares.

    Attributes:
        name: of the file.
        file: the file.
        models: steps before ensembles; empty where the file is broken.
        broken: why it cannot be read; empty where it can.
    """

    name: str
    file: Path
    models: tuple[AnyModel, ...]
    broken: str = ""


@functools.cache
def declared() -> tuple[System, ...]:
    """Every listed system. A file that raises, prints or exits spoils nothing but itself."""
    return tuple(_read(name) for name in SYSTEMS)


def _read(name: str) -> System:
    file = FOLDER / f"{name}.py"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return System(name, file, tuple(import_module(f"{__name__}.{name}").MODELS))
    # Whatever a file of people's own raises, the others are built all the same.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return System(name, file, (), f"{file}: {type(error).__name__}: {error}")


def all_models() -> tuple[AnyModel, ...]:
    """Every model of every system that can be read, steps before the ensembles that use them."""
    return tuple(model for system in declared() for model in system.models)


def declared_in(model: AnyModel) -> Path:
    """The file in which a model is declared."""
    return next(system.file for system in declared() if model in system.models)


def find(name: str) -> AnyModel:
    """The declaration of a model.

    Raises:
        UnknownModel: no file declares it.
        BrokenDeclaration: the file that would declare it cannot be read.
    """
    models = all_models()
    for model in models:
        if model.name == name:
            return model
    for system in declared():
        if system.broken and name.startswith(system.name):
            raise BrokenDeclaration(f"{name!r} cannot be read. {system.broken}. Mend the file.")
    names = [model.name for model in models]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names)}."
    raise UnknownModel(f"no model is called {name!r}. {hint}")


def check_readable() -> None:
    """Says which of the listed files cannot be read.

    Raises:
        BrokenDeclaration: naming each and why.
    """
    broken = [system.broken for system in declared() if system.broken]
    if broken:
        raise BrokenDeclaration(f"not built: {'; '.join(broken)}. Mend the file, or take it out of {__file__}.")


def systems(names: Sequence[str]) -> list[AnyModel]:
    """The named models with all that is served together with them; every model, when none is named.

    A model brings those that it calls, and those that call it: they are proven together.

    Returns:
        Each model once, steps before ensembles.

    Raises:
        UnknownModel: no file declares one of the names.
        BrokenDeclaration: the file that would declare one of them cannot be read.
    """
    chosen = {find(name).name for name in names} or {model.name for model in all_models()}
    together = [{model.name, *composing(model)} for model in all_models()]
    # A model that is called may call others.
    while more := {name for group in together if chosen & group for name in group} - chosen:
        chosen |= more
    return [model for model in all_models() if model.name in chosen]
