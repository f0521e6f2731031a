"""Somebody's weights, read as tensors and nothing else, and put into a module of theirs."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.parameter import is_lazy

from modelyard_build.errors import AdoptionFailed
from modelyard_build.module_checks import first_line

# Where training scripts keep a state_dict beside what else they save.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "weights", "params")
_MOST_NAMED = 4
_LFS_POINTER = b"version https://git-lfs"


def load_weights(module: nn.Module, path: Path) -> list[str]:
    """Puts the tensors of a checkpoint into a module, all of them where they belong.

    Args:
        module: takes the tensors.
        path: a safetensors file, or a checkpoint that `torch.save` wrote.

    Returns:
        What a person is to know: prefixes that were taken off, tensors that the module has no place for.

    Raises:
        AdoptionFailed: the file holds more than tensors, or tensors are missing, too many or of other shapes.
    """
    tensors, notes = _fitted(read_state(path), list(module.state_dict()), path)
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors and not _is_tied(module, name, tensors)]
    unexpected = [name for name in tensors if name not in expected]
    shapes = [
        f"{name} is {list(tensors[name].shape)}, expected {list(expected[name].shape)}"
        for name in expected
        if name in tensors and not is_lazy(expected[name]) and tensors[name].shape != expected[name].shape
    ]
    if missing or unexpected or shapes:
        raise AdoptionFailed(
            f"{path} does not fit {type(module).__name__}: "
            + "; ".join(
                [
                    *_some("missing in the file", missing),
                    *_some("unknown to the module", unexpected),
                    *_some("of another shape", shapes),
                ]
            )
            + ". The weights are of another module, or it was made with other arguments: make it as it was trained."
        )
    try:
        module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise AdoptionFailed(f"{path} does not fit {type(module).__name__}: {error}.") from error
    return notes


def _is_tied(module: nn.Module, name: str, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether a weight that the file leaves out is another's, under a second name: safetensors writes it once."""
    found = module.state_dict(keep_vars=True)
    return any(found[other] is found[name] for other in tensors if other in found)


def _some(what: str, names: Sequence[str]) -> list[str]:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return [f"{what}: {', '.join(names[:_MOST_NAMED])}{more}"] if names else []


def _fitted(
    tensors: dict[str, torch.Tensor], expected: Sequence[str], path: Path
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Takes off what a trainer put before every name: "module." of DataParallel, "_orig_mod." of torch.compile."""
    if not expected or expected[0] in tensors:
        return tensors, []
    prefixes = [name.removesuffix(expected[0]) for name in tensors if name.endswith(f".{expected[0]}")]
    prefix = next((one for one in prefixes if all(one + name in tensors for name in expected)), None)
    if prefix is None:
        prefix = next((one for one in prefixes if all(name.startswith(one) for name in tensors)), None)
    if prefix is None:
        return tensors, []
    notes = [f"the names in {path.name} stand without their prefix {prefix!r}"]
    if others := [name for name in tensors if not name.startswith(prefix)]:
        notes.append(f"{path.name} holds tensors of something else, which are left out: {', '.join(others[:3])}")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}, notes


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint by name. Nothing in the file is run.

    Raises:
        AdoptionFailed: it cannot be read, or holds more than tensors.
    """
    _check_whole(path)
    found = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
    state = _unwrapped(found)
    if state is None:
        raise AdoptionFailed(
            f"{path} holds {_kind(found)}; expected is a state_dict: tensors by name, as model.state_dict() gives "
            f"them, or that under one of {', '.join(map(repr, _WRAPPERS))}. Save it so: torch.save(model.state_dict(), "
            '"weights.pt").'
        )
    return state


def _check_whole(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise AdoptionFailed(f"{path} cannot be read: {error.strerror}. Mend the path.") from error
    if start == _LFS_POINTER:
        raise AdoptionFailed(f"{path} is a pointer of Git LFS, not the weights. Run `git lfs pull` where it lies.")
    if not start:
        raise AdoptionFailed(f"{path} is empty. Fetch it again.")


def _safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise AdoptionFailed(f"{path} is no whole safetensors file: {error}. Fetch it again.") from error


def _pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AdoptionFailed(
            f"{path} holds more than tensors, or is no checkpoint; nothing in it was run, because a pickle can run "
            "anything. Where you trust it, save its weights alone: `safetensors.torch.save_file(model.state_dict(), "
            f'"weights.safetensors")`, and give --weights weights.safetensors. (torch: {_asked_for(error)})'
        ) from error
    # Of bytes that are no checkpoint torch's reader raises whatever they lead it to.
    except Exception as error:
        raise AdoptionFailed(f"{path} is no whole checkpoint: {first_line(error)}. Fetch it again.") from error


def _asked_for(error: BaseException) -> str:
    """What torch says of the pickle, without its advice to trust it."""
    said = str(error).partition("WeightsUnpickler error:")[2].strip()
    return said.partition(" was not an allowed global")[0].partition("\n")[0] or "it is no pickle"


def _unwrapped(found: Any) -> dict[str, torch.Tensor] | None:
    if not isinstance(found, Mapping):
        return None
    if found and all(isinstance(value, torch.Tensor) for value in found.values()):
        return {str(name): tensor for name, tensor in found.items()}
    inner = (_unwrapped(found[key]) for key in _WRAPPERS if key in found)
    return next((state for state in inner if state), None)


def _kind(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"a {type(found).__name__}"
    return f"a dict of {', '.join(repr(key) for key in list(found)[:_MOST_NAMED]) or 'nothing'}"
