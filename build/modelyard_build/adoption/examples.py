"""The example that a user gives: a .npz file, or what their own code offers as one."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modelyard_build.adoption.drawing import draw
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Arrays
from modelyard_build.module_checks import first_line


def read_example(path: Path) -> Arrays:
    """Reads a .npz file of named arrays; objects in it, which would be pickles, are refused.

    Raises:
        AdoptionFailed: it is missing, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = dict(archive) if hasattr(archive, "files") else {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise AdoptionFailed(
            f"--example {path} cannot be read: {first_line(error)}. Expected is what numpy.savez(path, name=array, "
            "...) writes: an array of numbers for each input, the batch first."
        ) from error
    if not found:
        raise AdoptionFailed(
            f"--example {path} holds no named arrays. Write it with numpy.savez(path, name=array, ...)."
        )
    return found


def arrays_of(value: Any, module: nn.Module, what: str) -> Arrays:
    """What a user's code offers as inputs, by parameter: a dict, a tuple in forward's order, or a tensor.

    An example of one item is joined by others that vary it.

    Raises:
        AdoptionFailed: something in it is no tensor.
    """
    named = _named(value, module, what)
    found: Arrays = {}
    for name, one in named.items():
        if not isinstance(one, torch.Tensor | np.ndarray):
            raise AdoptionFailed(
                f"{what} gives {name!r} as a {type(one).__name__}; expected is a tensor whose first dimension is the "
                "batch. Where forward takes dicts, lists or plain numbers, write a module around it whose forward "
                "takes a tensor for each, and give that."
            )
        found[name] = one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else one
    return found


def _named(value: Any, module: nn.Module, what: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return {str(name): one for name, one in value.items()}
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    parameters = inspect.signature(module.forward).parameters.values()
    names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    spread = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "")
    names += [f"{spread}_{number}" for number in range(len(values) - len(names))] if spread else []
    if len(values) > len(names):
        raise AdoptionFailed(f"{what} gives {len(values)} inputs; forward takes {', '.join(names) or 'none'}.")
    return dict(zip(names, values, strict=False))


def with_items(example: Arrays, draws: Mapping[str, Any], items: int) -> Arrays:
    """An example of so many items at least: further ones are drawn around those that it has."""
    shapes = {name: array.shape[1:] for name, array in example.items()}
    count = max(items, *(len(array) for array in example.values()))
    return draw(example, shapes, draws, count)
