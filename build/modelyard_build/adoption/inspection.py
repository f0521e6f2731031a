"""What a module takes and answers, found out by running it.

A dimension may vary where the module was seen to work at other sizes; what that proves is no more than what was tried,
so sizes that nothing was found with are tried last, and the graph is held against PyTorch by whoever calls this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from modelyard_build.adoption.adapter import Adapter, adapt
from modelyard_build.adoption.answers import name_of
from modelyard_build.adoption.axes import Axes, explore
from modelyard_build.adoption.batching import Batched, batched_outputs
from modelyard_build.adoption.origin import Opened
from modelyard_build.adoption.running import RunFailed, Runner
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import NUMPY_DTYPES, Arrays, Axis, Tensor

_DTYPES = {np.dtype(dtype): name for name, dtype in NUMPY_DTYPES.items()}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Inspected:
    """What was found out of a module.

    Attributes:
        inputs: as they are declared.
        outputs: as they are declared.
        places: where each output stands in what the module returns, by the output's name; see `answers`.
        batch_at: the dimension that is the batch, for outputs in which it is not the first.
        numbers: the inputs that have one number for each item, which are declared as rows of one.
        example: the inputs that were looked at, float32 where they are floating-point.
        max_batch_size: the largest batch that it is declared for.
        notes: what was left out, fixed or narrowed, and why: a sentence each.
        proven: what was seen to hold: a sentence each.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    places: Mapping[str, str]
    batch_at: Mapping[str, int]
    numbers: tuple[str, ...]
    example: Arrays
    max_batch_size: int
    notes: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()

    @property
    def axes(self) -> list[Axis]:
        """Every axis of the inputs, each once."""
        found = {dim.name: dim for tensor in self.inputs for dim in tensor.dims if isinstance(dim, Axis)}
        return list(found.values())

    def adapted(self, module: nn.Module) -> Adapter:
        """The module as the declaration will give it."""
        return adapt(module, [tensor.name for tensor in self.inputs], self.places, self.batch_at, self.numbers)


def inspect(opened: Opened, report: Callable[[str], None]) -> Inspected:
    """Finds out what a module takes and answers.

    Args:
        opened: the module with an example.
        report: takes a line about what is being tried.

    Raises:
        AdoptionFailed: it fails on the example, answers by chance, changes itself, mixes its items, or returns nothing
            that can be served.
    """
    example, notes = _served_example(opened.example)
    runner = Runner(opened.module, example, opened.draws)
    answers = _run_twice(runner)
    report("which dimensions are the batch")
    outputs, left_out = batched_outputs(runner, answers)
    names = _output_names(list(outputs), opened.output_names, tuple(example))
    axes = explore(runner, outputs, opened.limits, report)
    found = _declared(runner, axes, outputs, names, (*opened.notes, *notes, *left_out))
    labelled = (replace(tensor, labels=opened.labels.get(tensor.name, ())) for tensor in found.outputs)
    return replace(found, outputs=tuple(labelled))


def _served_example(example: Arrays) -> tuple[Arrays, list[str]]:
    """The example in the dtypes that are served: floating-point inputs in float32, which modules are loaded in."""
    notes = []
    served: Arrays = {}
    for name, array in example.items():
        if not _NAME.fullmatch(name):
            raise AdoptionFailed(
                f"input {name!r} is no name for a parameter: letters, digits and underscores. Name the inputs of the "
                "example as forward's parameters."
            )
        if array.ndim == 0 or array.dtype not in _DTYPES or array.dtype == np.object_:
            raise AdoptionFailed(
                f"input {name!r} of the example is {array.dtype} {list(array.shape)}; expected is an array of numbers "
                "whose first dimension is the batch."
            )
        served[name] = array
        if array.dtype.kind == "f" and array.dtype != np.float32:
            served[name] = array.astype(np.float32)
            notes.append(f"input {name!r} came as {array.dtype} and is served as FP32, as the module is")
    items = {len(array) for array in served.values()}
    if len(items) != 1 or min(items) < 1:
        sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in served.items())
        raise AdoptionFailed(
            f"the example's inputs have different numbers of items ({sizes}); the first dimension of each must be the "
            "batch. What is the same for every item belongs into the module: a buffer that __init__ sets."
        )
    return served, notes


def _run_twice(runner: Runner) -> dict[str, Any]:
    """What the module answers to the example, where it answers the same again and stays as it is."""
    before = {name: buffer.clone() for name, buffer in runner.module.named_buffers()}
    # Torch counts how often a tensor was written to; a copy of the weights would take as much memory again.
    versions = {name: weight._version for name, weight in runner.module.named_parameters()}
    first = _run(runner)
    second = _run(runner)
    after = dict(runner.module.named_buffers())
    changed = [name for name in after if name not in before or not _same(before[name], after[name])]
    changed += [name for name, weight in runner.module.named_parameters() if weight._version != versions.get(name)]
    if changed:
        raise AdoptionFailed(
            f"forward changes the module itself: {', '.join(map(repr, changed[:3]))} is another after a run. A served "
            "model answers many callers at once and keeps nothing between them. Take the state as an input and return "
            "the new one as an output, or keep it out of eval mode (`if self.training:`)."
        )
    for place, value in first.items():
        again = second.get(place)
        if isinstance(value, torch.Tensor) and not (isinstance(again, torch.Tensor) and _same(value, again)):
            raise AdoptionFailed(
                f"output {place or 'output'!r} differs between two runs on the same input. Something answers by chance "
                "(dropout must follow self.training, as nn.Dropout does) or keeps a state between calls: mend forward."
            )
    return first


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    dtype = torch.complex128 if one.is_complex() else torch.float64
    return one.shape == other.shape and torch.allclose(one.to(dtype), other.to(dtype), equal_nan=True)


def _run(runner: Runner) -> dict[str, Any]:
    try:
        return runner.run(runner.example)
    except RunFailed as error:
        shapes = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in runner.example.items())
        raise AdoptionFailed(
            f"the module fails on the example ({shapes}): {error}. Give an example that it takes, named as forward's "
            "parameters, the batch first."
        ) from error


def _output_names(places: Sequence[str], given: Sequence[str], inputs: Sequence[str]) -> dict[str, str]:
    """The name of each output, by its place."""
    own = {place: name_of(place) for place in places}
    # A position says nothing; a name that the origin knows does.
    unnamed = [place for place in places if not place or place.startswith("[")]
    own.update(zip(unnamed, given, strict=False))
    taken = set(inputs)
    for place in places:
        wanted = own[place] if own[place] not in taken else f"{own[place]}_out"
        number = 2
        while wanted in taken:
            wanted, number = f"{own[place]}_{number}", number + 1
        own[place] = wanted
        taken.add(wanted)
    return own


def _declared(
    runner: Runner, axes: Axes, outputs: Mapping[str, Batched], names: Mapping[str, str], notes: Sequence[str]
) -> Inspected:
    numbers = tuple(name for name, array in runner.example.items() if array.ndim == 1)
    inputs = tuple(
        Tensor(name, _DTYPES[array.dtype], axes.inputs[name] or (1,)) for name, array in runner.example.items()
    )
    return Inspected(
        inputs=inputs,
        outputs=tuple(
            Tensor(names[place], outputs[place].dtype, _named(axes.outputs[place], names[place]) or (1,))
            for place in outputs
        ),
        places={names[place]: place for place in outputs},
        batch_at={names[place]: output.batch for place, output in outputs.items() if output.batch},
        numbers=numbers,
        example=runner.example,
        max_batch_size=axes.max_batch_size,
        notes=(*notes, *_moved(outputs, names), *axes.notes),
        proven=axes.proven,
    )


def _named(dims: Sequence[int | Axis], output: str) -> tuple[int | Axis, ...]:
    """Gives the axes that only an output has its name."""
    return tuple(
        replace(dim, name=f"{output}_{at}") if isinstance(dim, Axis) and not dim.name else dim
        for at, dim in enumerate(dims, 1)
    )


def _moved(outputs: Mapping[str, Batched], names: Mapping[str, str]) -> list[str]:
    return [
        f"output {names[place]!r} has the batch as dimension {output.batch} in PyTorch, and first when it is served"
        for place, output in outputs.items()
        if output.batch
    ]
