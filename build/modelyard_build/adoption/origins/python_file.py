"""`net.py`, `net.py:Class` or `net.py:factory`: somebody's own nn.Module, with weights of its own or by `--weights`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from modelyard_build.adoption import user_code
from modelyard_build.adoption.checkpoints import load_weights
from modelyard_build.adoption.examples import arrays_of, read_example
from modelyard_build.adoption.input_specs import SPELLING, example_of, limits_of
from modelyard_build.adoption.origin import AsItIs, Draw, Opened, Origin, Wish
from modelyard_build.adoption.running import apart, in_words
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Array, Arrays

WEIGHTS = "weights"
EXAMPLE = "example"
# A drawn example has as many items as show that they differ.
_ITEMS = 4


def _split(origin: str) -> tuple[Path, str]:
    """The file, and what in it."""
    path, colon, name = origin.rpartition(":")
    return (Path(path), name) if colon and path.endswith(".py") else (Path(origin), "")


def knows(wish: Wish) -> bool:
    """Whether the origin is a Python file."""
    return _split(wish.origin)[0].suffix == ".py"


def open_file(wish: Wish) -> Opened:
    """Imports the file, makes the module, fills in its weights and finds an example for it.

    Raises:
        AdoptionFailed: any of that does not go; the message says what to do.
    """
    path, name = _split(wish.origin)
    path = path.expanduser().absolute()
    if not path.is_file():
        raise AdoptionFailed(f"{path} is no file. Give the Python file that defines the module: --from net.py:Class.")
    path = path.resolve()
    name = name or wish.architecture or _only_module(path)
    module = user_code.make(path, name)
    notes = _weights_into(module, wish, path, name)
    example, draws, more = _example(wish, path, module)
    files = {file.stem: file for file in user_code.files_with(path)}
    assets = {**files, **({WEIGHTS: wish.weights.absolute()} if wish.weights else {})}
    if wish.example:
        assets[EXAMPLE] = wish.example.absolute()
    return Opened(
        module=module,
        example=example,
        load=_load(path, name, wish),
        assets=assets,
        draws=draws,
        limits=limits_of(wish) if not wish.example else {},
        summary=_summary(module, name, path),
        example_asset=EXAMPLE if wish.example else "",
        as_it_is=_as_it_is(path, name),
        notes=(*notes, *more),
    )


def _as_it_is(path: Path, name: str) -> AsItIs:
    """Published with its own files, of which one makes the module when it is called."""
    root, module = user_code.module_name(path)
    sources = {file.relative_to(root).as_posix(): file for file in user_code.files_with(path)}
    arguments = (
        f"module={json.dumps(f'{module}:{name}')},",
        "sources={",
        *(f"    {json.dumps(file)}: LocalAsset(Path({json.dumps(str(path))}))," for file, path in sources.items()),
        "},",
    )
    return AsItIs("from modelyard_build import module_step", "module_step.as_it_is", arguments)


def _only_module(path: Path) -> str:
    file = user_code.import_file(path)
    found = user_code.modules_in(file)
    # What needs arguments cannot be meant.
    names = [name for name in found if not user_code.required(getattr(file, name))] or found
    if len(names) == 1:
        return names[0]
    if not names:
        raise AdoptionFailed(
            f"{path} defines no nn.Module class. Name what makes the module: --from {path.name}:factory, a function "
            "that takes no arguments."
        )
    raise AdoptionFailed(
        f"{path} defines several modules: {', '.join(names)}. Say which: --from {path.name}:{names[0]}."
    )


def _weights_into(module: nn.Module, wish: Wish, path: Path, name: str) -> list[str]:
    if wish.weights:
        return load_weights(module, wish.weights)
    _check_lazy(module, path, name)
    again = user_code.make(path, name).state_dict()
    differing = [key for key, tensor in module.state_dict().items() if not torch.equal(tensor, again[key])]
    if differing:
        raise AdoptionFailed(
            f"{path}: {name} has other weights each time that it is made ({', '.join(differing[:3])}): they are "
            "random. Give the trained ones: --weights weights.safetensors. To try it without, let a function call "
            f"torch.manual_seed(0) before it makes the module, and give --from {path.name}:function."
        )
    return []


def _check_lazy(module: nn.Module, path: Path, name: str) -> None:
    lazy = [key for key, tensor in module.state_dict().items() if is_lazy(tensor)]
    if lazy:
        raise AdoptionFailed(
            f"{path}: {name} has layers whose sizes are not known before its first run ({lazy[0]}). Give its weights: "
            "--weights weights.safetensors."
        )


def _example(wish: Wish, path: Path, module: nn.Module) -> tuple[Arrays, Mapping[str, Draw], list[str]]:
    """An example, how it is varied, and what a person is to know of it."""
    if wish.inputs and not wish.example:
        draws, notes = _draws(wish, module)
        return example_of(replace(wish, draws=draws), _ITEMS), draws, notes
    example = read_example(wish.example) if wish.example else _own_example(path, module)
    return example, {**{name: Draw(ones=True) for name in example if _is_mask(name, example[name])}, **wish.draws}, []


def _is_mask(name: str, array: Array) -> bool:
    return "mask" in name and bool(np.isin(array, (0, 1)).all())


def _own_example(path: Path, module: nn.Module) -> Arrays:
    """What the file or the module itself offers."""
    if callable(own := getattr(user_code.import_file(path), "example_inputs", None)):
        return arrays_of(_called(own, path), module, f"{path}: example_inputs()")
    if (held := getattr(module, "example_input_array", None)) is not None:
        return arrays_of(held, module, f"{type(module).__name__}.example_input_array")
    raise AdoptionFailed(_no_example(path, module))


def _called(own: Any, path: Path) -> Any:
    with apart():
        try:
            return own()
        # A stranger's function may raise anything, and leave.
        except (Exception, SystemExit) as error:
            raise AdoptionFailed(f"{path}: example_inputs() fails: {in_words(error)}.") from error


def _draws(wish: Wish, module: nn.Module) -> tuple[dict[str, Draw], list[str]]:
    """Whole numbers without a range are masks by their name, else indices into the smallest table of the module."""
    tables = [inner.num_embeddings for inner in module.modules() if isinstance(inner, nn.Embedding)]
    draws, notes = dict(wish.draws), []
    for name, (dtype, _) in wish.inputs.items():
        if name in draws or dtype.startswith("FP"):
            continue
        if "mask" in name:
            draws[name] = Draw(ones=True)
        else:
            draws[name] = Draw(0, min(tables, default=2))
            notes.append(f"{name} takes 0 to {draws[name].high - 1}; others: --input {name}:{dtype}(0..99)[...]")
    return draws, notes


def _no_example(path: Path, module: nn.Module) -> str:
    taken = [
        one.name
        for one in inspect.signature(module.forward).parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ] or ["x"]
    specs = " ".join(f'--input "{name}:FP32[16]"' for name in taken)
    listed = json.dumps(taken)
    return (
        f"there are no inputs to try {path.name} with. forward takes {', '.join(taken)}. Give one of\n"
        f"  {specs}   (with its dtypes and dims, without the batch: {SPELLING})\n"
        f"  --example inputs.npz   (real inputs, an array for each of {listed}, the batch first)\n"
        f"  a function example_inputs() in {path.name} that returns a dict of tensors by parameter, the batch first."
    )


def _load(path: Path, name: str, wish: Wish) -> str:
    lines = ["from modelyard_build.adoption.user_code import make", ""]
    lines += [f'module = make(files["{path.stem}"], "{name}")']
    if wish.weights:
        lines.insert(0, "from modelyard_build.adoption.checkpoints import load_weights")
        lines += [f'load_weights(module, files["{WEIGHTS}"])']
    return "\n".join([*lines, "return module"])


def _summary(module: nn.Module, name: str, path: Path) -> str:
    count = sum(parameter.numel() for parameter in module.parameters())
    said = (type(module).__doc__ or "").strip().splitlines()
    own = said[0].rstrip(".") if said and type(module).__module__.split(".")[0] != "torch" else ""
    size = f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"
    return own or f"{name} of {path.name}, {size} parameters"


ORIGIN = Origin("a Python file with an nn.Module", knows, open_file)
