"""TorchScript as an ordinary PyTorch module: torch.export takes no ScriptModule, so its operators are set up anew."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._export.converter import TS2EPConverter

from modelyard_build.adoption.programs import Program, module_of
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Arrays
from modelyard_build.module_checks import first_line


def load_script(path: Path) -> torch.jit.ScriptModule:
    """Loads an archive of torch.jit.save, on the CPU and in eval mode.

    Raises:
        AdoptionFailed: torch does not load it.
    """
    try:
        script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError, ValueError) as error:
        raise AdoptionFailed(
            f"{path}: torch {torch.__version__} does not load this archive: {first_line(error)}. It is damaged, of a "
            "newer torch, or has operators of a library of its own."
        ) from error
    found: torch.jit.ScriptModule = script.eval()
    return found


def arguments_of(path: Path, script: torch.jit.ScriptModule) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The tensors that forward takes, in order, and the values of what else it takes.

    Raises:
        AdoptionFailed: it takes something that is no tensor, and says no value for it.
    """
    schema = _schema(script)
    if schema is None:
        raise AdoptionFailed(
            f"{path}: the module has no forward; save one that has it: torch.jit.script(module).save(...)."
        )
    tensors, constants = [], {}
    for argument in schema.arguments[1:]:
        if str(argument.type) == "Tensor":
            tensors.append(argument.name)
        elif argument.has_default_value():
            constants[argument.name] = argument.default_value
        else:
            raise AdoptionFailed(
                f"{path}: forward takes {argument.name!r} as {argument.type}; expected are tensors. Script a module "
                "around it whose forward takes tensors alone."
            )
    return tuple(tensors), constants


def _schema(script: torch.jit.ScriptModule) -> Any:
    """What forward takes and returns; None where there is no forward."""
    return getattr(getattr(script, "forward", None), "schema", None)


def rebuilt(path: Path, example: Path) -> nn.Module:
    """The module of an archive; for declarations.

    Args:
        path: the archive.
        example: a .npz file with its inputs, items along the first dimension.

    Raises:
        AdoptionFailed: see `rebuild`.
    """
    with np.load(example, allow_pickle=False) as archive:
        return rebuild(path, load_script(path), dict(archive))


def rebuild(path: Path, script: torch.jit.ScriptModule, example: Arrays) -> Program:
    """Sets a ScriptModule's operators up as a module of PyTorch, every size of its inputs open.

    Args:
        path: where it came from, for messages.
        script: the module.
        example: its inputs, two items or more.

    Raises:
        AdoptionFailed: something in it has no form outside of TorchScript.
    """
    names, constants = arguments_of(path, script)
    order = [argument.name for argument in _schema(script).arguments[1:]]
    given: Mapping[str, Any] = {**{name: torch.from_numpy(example[name]) for name in names}, **constants}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = TS2EPConverter(script, tuple(given[name] for name in order)).convert()
    except Exception as error:
        # The converter raises whatever the operator that it meets makes it stumble over.
        raise AdoptionFailed(
            f"{path}: this TorchScript has no graph: {first_line(error)}. Control flow that depends on values, and "
            "operators of TorchScript's own, have none. Give the module that it was made from (--from net.py:Class "
            'with --weights), or serve the archive as it is with backend: "pytorch" and a config of your own.'
        ) from error
    return Program(module_of(program), order, constants)
