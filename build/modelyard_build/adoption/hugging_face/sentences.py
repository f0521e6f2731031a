"""A folder in the layout of the sentence-transformers library: what follows the encoder, by its own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from modelyard_build.adoption.hugging_face.configs import read_json
from modelyard_build.adoption.hugging_face.files import MODULES, Files, weights_of
from modelyard_build.errors import AdoptionFailed
from modelyard_build.steps.hugging_face_module import POOLS

_POOLING = "1_Pooling/"
_PREFIX = "pooling_mode_"


@dataclass(frozen=True)
class Layout:
    """What makes one vector of token states.

    Attributes:
        folder: where the encoder's own files stand, "" or one that ends in "/".
        pooling: keys of `POOLS`.
        dense: of each linear layer that follows, the file of its weights and the name of its activation.
        normalise: whether the vector gets unit length.
    """

    folder: str
    pooling: tuple[str, ...]
    dense: tuple[tuple[str, str], ...]
    normalise: bool


def has_layout(files: Files) -> bool:
    """Whether a folder says how token states become one vector."""
    return MODULES in files.paths or f"{_POOLING}config.json" in files.paths


def layout_of(files: Files) -> Layout:
    """The modules that a folder lists, in order.

    Raises:
        AdoptionFailed: there is no such list, or it holds a module of another kind.
    """
    if not has_layout(files):
        raise AdoptionFailed(
            f"{files.origin} has neither {MODULES} nor {_POOLING}config.json, so that nothing says how its token "
            "states become one vector. Take a sentence-transformers folder, or serve the states with --class AutoModel."
        )
    modules = _modules(files)
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "Normalize"}:
        raise AdoptionFailed(
            f"{MODULES} of {files.origin} lists {', '.join(kinds) or 'nothing'}; expected is Transformer, Pooling, and "
            "after them Dense or Normalize. Wrap it in a module of your own and adopt that as path.py:Class."
        )
    if "Normalize" in kinds[:-1]:
        raise AdoptionFailed(
            f"{MODULES} of {files.origin} lists Normalize before {kinds[-1]}; expected is Normalize at the end. Wrap "
            "the model in a module of your own and adopt that as path.py:Class."
        )
    return Layout(
        folder=modules[0][1],
        pooling=_pooling(files, modules[1][1]),
        dense=tuple(_dense(files, folder) for kind, folder in modules if kind == "Dense"),
        normalise=kinds[-1] == "Normalize",
    )


def _modules(files: Files) -> list[tuple[str, str]]:
    """Kind and folder of each; a folder with pooling alone has no list."""
    if MODULES not in files.paths:
        return [("Transformer", ""), ("Pooling", _POOLING)]
    listed: list[Mapping[str, Any]] = read_json(files.paths[MODULES], list)
    return [
        (str(module.get("type", "")).rpartition(".")[2], f"{module['path']}/" if module.get("path") else "")
        for module in listed
    ]


def _pooling(files: Files, folder: str) -> tuple[str, ...]:
    """Several ways may be on; newer files name them, older ones have a flag for each."""
    config = files.json(f"{folder}config.json")
    named = config.get("pooling_mode")
    asked = [named] if isinstance(named, str) else list(named or ())
    asked += [_short(key) for key, on in config.items() if key.startswith(_PREFIX) and on]
    unknown = [name for name in asked if name not in POOLS]
    if unknown or not asked:
        raise AdoptionFailed(
            f"{folder}config.json of {files.origin} asks for pooling {', '.join(unknown) or 'of no kind'}; known are "
            f"{', '.join(POOLS)}. Wrap the model in a module of your own and adopt that as path.py:Class."
        )
    return tuple(asked)


def _short(flag: str) -> str:
    """`pooling_mode_cls_token` is the way that is called cls."""
    name = flag.removeprefix(_PREFIX)
    return name if name in POOLS else name.removesuffix("_tokens").removesuffix("_token")


def _dense(files: Files, folder: str) -> tuple[str, str]:
    activation = str(files.json(f"{folder}config.json").get("activation_function", "")).rpartition(".")[2]
    if not isinstance(getattr(nn, activation or "-", None), type):
        raise AdoptionFailed(
            f"{folder}config.json of {files.origin} names the activation {activation!r}; expected is a class of "
            "torch.nn. Fetch the folder again."
        )
    return weights_of(files, folder)[0], activation
