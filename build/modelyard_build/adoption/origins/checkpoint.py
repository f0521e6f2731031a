"""A checkpoint by itself: weights without the code that they are of; refused, in words that say what is missing."""

from __future__ import annotations

from pathlib import Path

from modelyard_build.adoption.checkpoints import read_state
from modelyard_build.adoption.origin import Opened, Origin, Wish
from modelyard_build.errors import AdoptionFailed

_SUFFIXES = {".pt", ".pth", ".ckpt", ".bin", ".safetensors"}
_MOST_NAMED = 3


def knows(wish: Wish) -> bool:
    """Whether the origin is a file of weights; asked last, because some of these suffixes hold whole programs too."""
    return Path(wish.origin).suffix in _SUFFIXES


def open_file(wish: Wish) -> Opened:
    """Says what to give instead.

    Raises:
        AdoptionFailed: always.
    """
    path = Path(wish.origin).expanduser()
    state = read_state(path)
    names = ", ".join(list(state)[:_MOST_NAMED])
    raise AdoptionFailed(
        f"{path} holds {len(state)} tensors ({names} …), but not the module that computes with them. Give the Python "
        f"file that defines it: --from net.py:Net --weights {path}."
    )


ORIGIN = Origin("a checkpoint with the Python file of its module", knows, open_file)
