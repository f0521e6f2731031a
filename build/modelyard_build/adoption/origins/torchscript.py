"""A TorchScript archive: loaded without unpickling anything, its operators set up anew and held against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelyard_build.adoption.batching import BATCHES
from modelyard_build.adoption.examples import read_example, with_items
from modelyard_build.adoption.input_specs import SPELLING, example_of, limits_of
from modelyard_build.adoption.origin import Opened, Origin, Wish
from modelyard_build.adoption.programs import Program
from modelyard_build.adoption.running import RunFailed, Runner
from modelyard_build.adoption.torchscript import arguments_of, load_script, rebuild
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Arrays
from modelyard_build.repository.lint.artefacts.pytorch import SAVED, TORCHSCRIPT, read_pytorch

ASSET = "model.pt"
EXAMPLE = "example"
_SUFFIXES = (".ts", ".torchscript", ".jit", ".ptl")
_ITEMS = 4
# The rebuilt module rounds as the archive does, but for what TorchScript fuses.
_ROUNDING = 1e-5


def knows(wish: Wish) -> bool:
    """Whether the origin is TorchScript; checkpoints have some of its suffixes too."""
    path = Path(wish.origin).expanduser()
    if path.suffix in _SUFFIXES:
        return True
    try:
        return path.is_file() and read_pytorch(path, {}).details.get("kind") == TORCHSCRIPT
    except OSError:
        return False


def open_file(wish: Wish) -> Opened:
    """Loads the archive and sets its operators up as a module.

    Raises:
        AdoptionFailed: it is no TorchScript, there is no example for it, or it has no graph.
    """
    path = Path(wish.origin).expanduser().absolute()
    _check_kind(path)
    if wish.weights:
        raise AdoptionFailed(f"{path.name} has its weights in it; leave --weights out.")
    script = load_script(path)
    names, _ = arguments_of(path, script)
    example = with_items(_example(wish, path, names), wish.draws, _ITEMS)
    _check_runs(path, script, example)
    module = rebuild(path, script, example)
    _hold_against(path, script, module, example, wish)
    where = f'files["{EXAMPLE}"]' if wish.example else "EXAMPLE"
    return Opened(
        module=module,
        example=example,
        load=f'from modelyard_build.adoption.torchscript import rebuilt\n\nreturn rebuilt(files["{ASSET}"], {where})',
        assets={ASSET: path, **({EXAMPLE: wish.example.absolute()} if wish.example else {})},
        draws=wish.draws,
        limits=limits_of(wish) if not wish.example else {},
        summary=f"the TorchScript of {path.name}",
        example_asset=EXAMPLE if wish.example else "",
    )


def _check_kind(path: Path) -> None:
    try:
        found = read_pytorch(path, {})
    except OSError as error:
        raise AdoptionFailed(f"{path} cannot be read: {error.strerror}. Give a file of torch.jit.save.") from error
    if found.problem:
        raise AdoptionFailed(f"{path} {found.problem}. Expected is a file of torch.jit.save, whole.")
    if found.details["kind"] == SAVED:
        raise AdoptionFailed(
            f"{path} is what torch.save writes: a pickle, which could run anything and is not opened. Weights are "
            "given with the class that takes them: --from net.py:Class --weights weights.pt (tensors alone are read). "
            "A whole module is given as TorchScript (torch.jit.script(module).save) or as torch.export.save writes it."
        )
    if found.details["kind"] != TORCHSCRIPT:
        raise AdoptionFailed(f"{path} is of the kind {found.details['kind']}; expected is TorchScript.")


def _example(wish: Wish, path: Path, names: tuple[str, ...]) -> Arrays:
    if not wish.example and not wish.inputs:
        specs = " ".join(f'--input "{name}:FP32[16]"' for name in names)
        raise AdoptionFailed(
            f"{path} does not say what shapes it takes. forward takes {', '.join(names)}. Give one of\n"
            f"  {specs}   (with its dtypes and dims, without the batch: {SPELLING})\n"
            f"  --example inputs.npz   (real inputs, an array for each, items along the first dimension)."
        )
    found = read_example(wish.example) if wish.example else example_of(wish, _ITEMS)
    if sorted(found) != sorted(names):
        raise AdoptionFailed(f"the inputs given are {', '.join(found)}; forward takes {', '.join(names)}.")
    return {name: found[name] for name in names}


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _check_runs(path: Path, script: torch.jit.ScriptModule, example: Arrays) -> None:
    try:
        with torch.inference_mode():
            script(**_tensors(example))
    except RuntimeError as error:
        shapes = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in example.items())
        said = [line for line in str(error).splitlines() if line.strip()][-1]
        raise AdoptionFailed(f"{path} fails on the inputs given ({shapes}): {said.strip()[:300]}") from error


class _Archive(nn.Module):
    """The archive with inputs by name: a ScriptModule has no signature that Python knows."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.script = script

    def forward(self, **inputs: torch.Tensor) -> Any:
        """What the archive answers."""
        return self.script(**inputs)


def _hold_against(path: Path, script: torch.jit.ScriptModule, module: Program, example: Arrays, wish: Wish) -> None:
    """Holds the rebuilt module against the archive, wherever both answer."""
    one, other = Runner(_Archive(script), example, wish.draws), Runner(module, example, wish.draws)
    for batch, shapes in _variations(example):
        try:
            expected, found = one.at(batch, shapes), other.at(batch, shapes)
        except RunFailed:
            # A size that one of them does not take is found out, and left out, when axes are looked for.
            continue
        for (place, answer), (_, again) in zip(expected.items(), found.items(), strict=True):
            scale = max(1e-6, float(answer.double().abs().nan_to_num().max())) if answer.numel() else 1.0
            same = answer.shape == again.shape
            if not same or float((answer.double() - again.double()).abs().nan_to_num().max()) > _ROUNDING * scale:
                raise AdoptionFailed(
                    f"{path}: output {place or 'output'!r} of the module set up from this TorchScript differs from the "
                    f"archive's at batch {batch}: torch's converter does not take it over as it is. Give the module "
                    "that it was made from: --from net.py:Class with --weights."
                )


def _variations(example: Arrays) -> Iterator[tuple[int, dict[str, tuple[int, ...]]]]:
    """The example's sizes in several batches, then each size of a dimension changed wherever it stands."""
    shapes = {name: array.shape[1:] for name, array in example.items()}
    for batch in (1, *BATCHES, 5):
        yield batch, shapes
    for size in sorted({dim for shape in shapes.values() for dim in shape if dim > 1}):
        for new in (size + 1, 2 * size, size - 1):
            yield 2, {name: tuple(new if dim == size else dim for dim in shape) for name, shape in shapes.items()}


ORIGIN = Origin("a TorchScript archive (.pt)", knows, open_file)
