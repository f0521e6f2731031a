"""Every model that `modelyard build` knows. A new system is a file here and a line in the list."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from modelyard_build.errors import UnknownModel
from modelyard_build.model import AnyModel, Ensemble
from modelyard_build.models import text_embedder, ticket_classifier

# Each declares MODELS: steps before the ensembles that use them.
SYSTEMS = (text_embedder, ticket_classifier)
MODELS: tuple[AnyModel, ...] = tuple(model for system in SYSTEMS for model in system.MODELS)


def declared_in(model: AnyModel) -> Path:
    """The file in which a model is declared."""
    return next(Path(system.__file__ or "") for system in SYSTEMS if model in system.MODELS)


def find(name: str) -> AnyModel:
    """The declaration of a model.

    Raises:
        UnknownModel: no file declares it.
    """
    for model in MODELS:
        if model.name == name:
            return model
    names = [model.name for model in MODELS]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names)}."
    raise UnknownModel(f"no model is called {name!r}. {hint}")


def systems(names: Sequence[str]) -> list[AnyModel]:
    """The named models with all that is served together with them; every model, when none is named.

    An ensemble brings its steps, a step the ensembles that use it: they are proven together.

    Returns:
        Each model once, steps before ensembles.

    Raises:
        UnknownModel: no file declares one of the names.
    """
    chosen = {find(name).name for name in names} or {model.name for model in MODELS}
    for model in MODELS:
        if isinstance(model, Ensemble) and chosen & {model.name, *(step.model for step in model.steps)}:
            chosen |= {model.name, *(step.model for step in model.steps)}
    return [model for model in MODELS if model.name in chosen]
