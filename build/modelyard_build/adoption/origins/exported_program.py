"""A program of torch.export.save (.pt2): its graph with its weights, and the sizes that it was exported for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from modelyard_build.adoption import program_archive
from modelyard_build.adoption.batching import BATCHES
from modelyard_build.adoption.examples import read_example, with_items
from modelyard_build.adoption.input_specs import SPELLING, example_of, limits_of
from modelyard_build.adoption.origin import Limit, Opened, Origin, Wish
from modelyard_build.adoption.programs import Program, input_names, named, shapes_of
from modelyard_build.adoption.ranges import BOUND
from modelyard_build.adoption.running import RunFailed, Runner
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Arrays
from modelyard_build.repository.lint.artefacts.pytorch import AOT_INDUCTOR, EXPORTED_PROGRAM, read_pytorch

ASSET = "model.pt2"
EXAMPLE = "example"
_ITEMS = 4


def knows(wish: Wish) -> bool:
    """Whether the origin is an archive of torch.export, or of what is compiled from one."""
    path = Path(wish.origin).expanduser()
    if path.suffix == ".pt2":
        return True
    return path.suffix in (".pt", ".pth", ".zip") and _kind(path) in (EXPORTED_PROGRAM, AOT_INDUCTOR)


def _kind(path: Path) -> str:
    try:
        found = read_pytorch(path, {})
    except OSError:
        return ""
    return str(found.details.get("kind", ""))


def open_file(wish: Wish) -> Opened:
    """Loads the program, and takes its example and its sizes over.

    Raises:
        AdoptionFailed: it is damaged, compiled, or takes something else than tensors; its batch is fixed.
    """
    path = Path(wish.origin).expanduser().absolute()
    if not path.is_file():
        raise AdoptionFailed(f"{path} is no file. Give what torch.export.save wrote: --from model.pt2.")
    if wish.weights:
        raise AdoptionFailed(f"{path.name} has its weights in it; leave --weights out.")
    if _kind(path) == AOT_INDUCTOR:
        raise AdoptionFailed(
            f"{path} is compiled for one kind of machine (AOTInductor), and nothing else can be made of it. Give the "
            "program that it was compiled from: torch.export.save(program, 'model.pt2')."
        )
    program = program_archive.load(path)
    module, shapes = named(program), shapes_of(program)
    example = _example(wish, path, program)
    notes = _check_batch(path, module, shapes, example)
    limits = limits_of(wish) if wish.inputs and not wish.example else _limits(program, shapes)
    return Opened(
        module=module,
        example=example,
        load=f'from modelyard_build.adoption.programs import load_program\n\nreturn load_program(files["{ASSET}"])',
        assets={ASSET: path, **({EXAMPLE: wish.example.absolute()} if wish.example else {})},
        draws=wish.draws,
        limits=limits,
        summary=f"the program of {path.name}",
        example_asset=EXAMPLE if wish.example else "",
        notes=tuple(notes),
    )


def _example(wish: Wish, path: Path, program: torch.export.ExportedProgram) -> Arrays:
    names = input_names(program)
    if wish.example or wish.inputs:
        found = read_example(wish.example) if wish.example else example_of(wish, _ITEMS)
        if sorted(found) != sorted(names):
            raise AdoptionFailed(f"the inputs given are {', '.join(found)}; the program takes {', '.join(names)}.")
        return {name: found[name] for name in names}
    if program.example_inputs is None:
        raise AdoptionFailed(
            f"{path} was saved without its example inputs. Give --example inputs.npz, or each of {', '.join(names)} as "
            f"--input {SPELLING}."
        )
    arguments, by_keyword = program.example_inputs
    return {name: value.detach().numpy() for name, value in zip(names, (*arguments, *by_keyword.values()), strict=True)}


def _check_batch(
    path: Path, module: Program, shapes: Mapping[str, tuple[int | str, ...]], example: Arrays
) -> list[str]:
    """Holds the program against a batch of several items, where it was exported for one size of it."""
    fixed = {name: shape[0] for name, shape in shapes.items() if shape and isinstance(shape[0], int)}
    if not fixed:
        return []
    name, size = next(iter(fixed.items()))
    runner = Runner(module, with_items(example, {}, max(BATCHES)), {})
    try:
        for batch in BATCHES:
            runner.at(batch, {one: array.shape[1:] for one, array in example.items()})
    except RunFailed as error:
        raise AdoptionFailed(
            f"{path}: the program was exported with a batch of {size} (input {name!r} is {list(shapes[name])}), and "
            f"runs with no other: {error}. Export it again with an example of two items or more and a dynamic batch: "
            f"torch.export.export(module, args, dynamic_shapes={{{name!r}: {{0: Dim('batch')}}}})."
        ) from error
    return [f"the program was exported with a batch of {size}; it was found to take others"]


def _limits(
    program: torch.export.ExportedProgram, shapes: Mapping[str, tuple[int | str, ...]]
) -> dict[str, dict[int, Limit]]:
    """What the program's own constraints say of each dimension beside the batch."""
    ranges = {str(symbol): found for symbol, found in program.range_constraints.items()}
    varying = {size for shape in shapes.values() for size in shape[1:] if isinstance(size, str)}
    called: dict[str, str] = {}
    found: dict[str, dict[int, Limit]] = {}
    for name, shape in shapes.items():
        for at, size in enumerate(shape[1:], 1):
            if isinstance(size, int):
                found.setdefault(name, {})[at] = Limit("", size, size)
            elif size in ranges:
                called.setdefault(size, "length" if len(varying) == 1 else f"{name}_{at}")
                low, high = max(1, int(ranges[size].lower)), min(BOUND, ranges[size].upper)
                found.setdefault(name, {})[at] = Limit(called[size], low, int(high))
    return found


ORIGIN = Origin("a program of torch.export.save (.pt2)", knows, open_file)
