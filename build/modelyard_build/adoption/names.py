"""What a model may be called. Nothing is imported for it that takes seconds: a name that is taken is said at once."""

from __future__ import annotations

import keyword
import re

from modelyard_build import models
from modelyard_build.adoption.writing import listed
from modelyard_build.errors import AdoptionFailed

_MOST_LETTERS = 64


def check_name(name: str) -> None:
    """Refuses what cannot be the name of a Triton model, of a Python file, and of nothing else.

    Raises:
        AdoptionFailed: saying what it may be.
    """
    fits = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and len(name) <= _MOST_LETTERS and not keyword.iskeyword(name)
    if not fits:
        proposal = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_0123456789").lower()
        hint = f" Take {proposal}." if proposal and proposal.isidentifier() and not keyword.iskeyword(proposal) else ""
        raise AdoptionFailed(
            f"{name!r} cannot be the name of a model: letters, digits and underscores, a letter first, at most "
            f"{_MOST_LETTERS}.{hint}"
        )
    taken = next((models.declared_in(model) for model in models.all_models() if model.name == name), None)
    if taken and taken.stem != name:
        raise AdoptionFailed(f"a model is called {name!r} already, in {taken}. Take another name.")
    index = (models.FOLDER / "__init__.py").read_text()
    if (models.FOLDER / f"{name}.py").exists() and listed(index, name) != index:
        raise AdoptionFailed(f"{models.FOLDER / f'{name}.py'} is a file that models share. Take another name.")
