"""The real inputs that ranges are taken from, and others that only judge: refused in words where they are no use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelyard_build.model import NUMPY_DTYPES, Arrays, Axis, Model
from modelyard_build.precision.effort import items_of_each
from modelyard_build.precision.errors import CalibrationRefused
from modelyard_build.targets.target import Source

# Items that give the ranges, over all sizes; as many again judge. Fewer leave rare large values unseen, but a large
# model is not run on more than `effort` affords.
ITEMS = 256
# For what needs no more than an impression: every so many batches. Each size is in so many.
FEW = 4
# Rows of a batch: where every value of a graph is looked at, all of them are in memory at once, 90 MB a row of
# a ResNet-50 in float32.
_MOST_ROWS = 16
# Of the examples, where no calibration data is declared.
_EXAMPLES = 16


@dataclass(frozen=True)
class Calibration:
    """Two sets of real inputs that share no item.

    Attributes:
        seen: batches that ranges are taken from.
        held_out: batches that candidates are judged on while nodes are chosen.
        sizes: the sizes of the dynamic axes, each with as many items of both sets.
        items: how many items each set has.
        origin: where they come from: "calibration" or "examples".
    """

    seen: tuple[Arrays, ...]
    held_out: tuple[Arrays, ...]
    sizes: tuple[Mapping[str, int], ...]
    items: int
    origin: str = "calibration"


def gather(source: Source) -> Calibration:
    """Asks the model for its calibration data at the smallest, the largest and the usual sizes, and one in between.

    Raises:
        CalibrationRefused: none is declared, or what came is not what the model takes, or says nothing.
    """
    model = source.model
    if model.calibration is None:
        raise CalibrationRefused(
            f"{model.name}: no calibration data declared, and ranges cannot be taken from thin air. Declare "
            "`calibration=` on the Model: real inputs from data that no verification sees."
        )
    seen: list[Arrays] = []
    held_out: list[Arrays] = []
    steps = sizes_of(model)
    each = items_of_each(source, steps, ITEMS // len(steps))
    for sizes in steps:
        arrays = model.calibration(source.files, 2 * each, sizes)
        check(model, arrays, 2 * each, sizes)
        seen += _batches(arrays, 0, each)
        held_out += _batches(arrays, each, 2 * each)
    return Calibration(_runs(model, seen), _runs(model, held_out), tuple(steps), each * len(steps))


def real_inputs(source: Source) -> Calibration:
    """The calibration data where it is declared, else the examples: to see in which range values are, both will do.

    Raises:
        CalibrationRefused: what came is not what the model takes, or says nothing.
    """
    model = source.model
    if model.calibration is not None:
        return gather(source)
    items = min(_EXAMPLES, model.max_batch_size) or FEW
    steps = sizes_of(model)
    batches = []
    for sizes in steps:
        arrays = model.examples(source.files, items, sizes)
        check(model, arrays, items, sizes)
        batches.append(arrays)
    runs = _runs(model, batches)
    return Calibration(runs, runs, tuple(steps), items * len(steps), "examples")


def _runs(model: Model, batches: Sequence[Arrays]) -> tuple[Arrays, ...]:
    """What the graph takes at once: batches, or single items where it has no dimension for them."""
    if model.max_batch_size:
        return tuple(batches)
    return tuple(
        {name: array[at] for name, array in batch.items()}
        for batch in batches
        for at in range(len(next(iter(batch.values()))))
    )


def sizes_of(model: Model) -> list[dict[str, int]]:
    """Every axis at its smallest, at its optimum, halfway (geometrically) between them, and at its largest."""
    axes = {dim.name: dim for tensor in model.inputs for dim in tensor.dims if isinstance(dim, Axis)}
    corners = [
        {name: axis.min for name, axis in axes.items()},
        {name: round((axis.min * axis.opt) ** 0.5) for name, axis in axes.items()},
        {name: axis.opt for name, axis in axes.items()},
        {name: axis.max for name, axis in axes.items()},
    ]
    return [sizes for index, sizes in enumerate(corners) if sizes not in corners[:index]]


def _batches(arrays: Arrays, start: int, stop: int) -> Iterator[Arrays]:
    # As many as `FEW` divides, so that every so many of them still come from each size.
    count = FEW * -(-(stop - start) // (FEW * _MOST_ROWS))
    size = -(-(stop - start) // count)
    for first in range(start, stop, size):
        last = min(first + size, stop)
        yield {name: array[first:last] for name, array in arrays.items()}


def check(model: Model, arrays: Arrays, items: int, sizes: Mapping[str, int]) -> None:
    """Holds calibration data against the declared inputs.

    Args:
        model: the declaration.
        arrays: what `model.calibration` gave.
        items: how many were asked for.
        sizes: the sizes of the dynamic axes that were asked for.

    Raises:
        CalibrationRefused: a wrong name, dtype or shape, no items, NaN or infinity, or the same item throughout.
    """
    what = f"{model.name}: the calibration data"
    names = [tensor.name for tensor in model.inputs]
    if sorted(arrays) != sorted(names):
        raise CalibrationRefused(
            f"{what} has {', '.join(sorted(arrays)) or 'no array at all'}; the inputs are {', '.join(names)}. Return "
            "one array for each."
        )
    for tensor in model.inputs:
        array = arrays[tensor.name]
        shape = (items, *(sizes[dim.name] if isinstance(dim, Axis) else dim for dim in tensor.dims))
        _check_array(f"{what} for {tensor.name!r}", array, np.dtype(NUMPY_DTYPES[tensor.dtype]), shape)
    if items > 1 and all((array == array[:1]).all() for array in arrays.values()):
        raise CalibrationRefused(
            f"{what} repeats one item {items} times; ranges taken from it would clip every other. Return different "
            "real items."
        )


def _check_array(what: str, array: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> None:  # type: ignore[type-arg]
    if array.dtype != dtype:
        raise CalibrationRefused(f"{what} is {array.dtype}; the input is {dtype}. Convert it in `calibration`.")
    if array.shape != shape:
        raise CalibrationRefused(
            f"{what} has shape {list(array.shape)}; asked for was {list(shape)}. Return exactly as many items as "
            "`batch` says, with every axis at its asked size; more data than a batch of requests is needed."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        position = [int(index) for index in np.argwhere(~np.isfinite(array))[0]]
        raise CalibrationRefused(
            f"{what} is {array[tuple(position)]} at {position}; a range would become so too. Drop such items."
        )
