"""A model of the transformers library: a folder with config.json and weights, or a name on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from modelyard_build.adoption.origin import Opened, Origin, Wish

_CONFIG = "config.json"
_MODULES = "modules.json"
# As the hub has it; with a revision behind an @ where one is wanted.
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def knows(wish: Wish) -> bool:
    """A folder that save_pretrained wrote, or what can be a name on the hub and is no path here."""
    path = Path(wish.origin).expanduser()
    if path.exists():
        return (path / _CONFIG).is_file() or (path / _MODULES).is_file()
    return _NAME.fullmatch(wish.origin) is not None


def open_model(wish: Wish) -> Opened:
    """Loads the model, tries it, and says how a declaration loads it again.

    Raises:
        AdoptionFailed: there are no weights, they do not fit, or it is a model that a graph cannot serve.
    """
    # The library takes seconds to import, and other kinds of origins need none of it.
    from modelyard_build.adoption.hugging_face.opening import open_files
    from modelyard_build.adoption.hugging_face.places import files_of

    return open_files(files_of(wish.origin), wish)


ORIGIN = Origin("a folder of a Hugging Face model, or its name on the hub (intfloat/e5-small-v2)", knows, open_model)
