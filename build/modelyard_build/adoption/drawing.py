"""Inputs of any batch and any size, drawn out of an example; the same ones each time.

The first items are those of the example, cut or repeated to the size that is asked for. Further ones vary around them,
so that a batch of any size has items that differ.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from modelyard_build.adoption.origin import Draw
from modelyard_build.model import NUMPY_DTYPES, Array, Arrays, Axis, Tensor

# How far an item may be from the one of the example that it varies, as a share of the example's deviation.
_SPREAD = 0.25


def drawn(
    example: Path,
    inputs: Sequence[Tensor],
    draws: Mapping[str, Draw],
    batch: int,
    sizes: Mapping[str, int],
    rows: slice = slice(None),
) -> Arrays:
    """Inputs for a declaration.

    Args:
        example: a .npz file with an array for each input, items along the first dimension.
        inputs: what is declared.
        draws: which values inputs may take.
        batch: how many items.
        sizes: the size of each axis.
        rows: the items of the example that may be used.
    """
    with np.load(example, allow_pickle=False) as archive:
        arrays = {tensor.name: archive[tensor.name][rows].astype(NUMPY_DTYPES[tensor.dtype]) for tensor in inputs}
    shapes = {
        tensor.name: tuple(sizes[dim.name] if isinstance(dim, Axis) else dim for dim in tensor.dims)
        for tensor in inputs
    }
    return draw(arrays, shapes, draws, batch)


def draw(
    example: Arrays, shapes: Mapping[str, Sequence[int]], draws: Mapping[str, Draw], batch: int, first: int = 0
) -> Arrays:
    """Inputs of given shapes.

    Args:
        example: an array for each input, items along the first dimension.
        shapes: the shape of an item of each input.
        draws: which values inputs may take.
        batch: how many items.
        first: the number of the first of them; beyond those of the example each is a new one.
    """
    return {
        name: np.stack([_item(name, array, shapes[name], draws.get(name, Draw()), first + at) for at in range(batch)])
        for name, array in example.items()
    }


def _item(name: str, example: Array, shape: Sequence[int], how: Draw, number: int) -> Array:
    if how.ones:
        return _mask(shape, number).astype(example.dtype)
    fitted = _fit(example[number % len(example)], shape)
    if number < len(example):
        return fitted
    generator = np.random.default_rng([zlib.crc32(name.encode()), number])
    if how.low < how.high:
        return generator.integers(how.low, how.high, size=shape).astype(example.dtype)
    if example.dtype.kind != "f":
        return generator.choice(example.ravel(), size=shape).astype(example.dtype)
    return _vary(fitted, example, generator)


def _mask(shape: Sequence[int], number: int) -> Array:
    """Every second item has a padded end."""
    mask = np.ones(shape)
    length = shape[-1] if shape else 1
    if number % 2 and length > 1:
        mask[..., length - 1 - (number * 7) % (length // 2 + 1) :] = 0
        mask[..., 0] = 1
    return mask


def _fit(item: Array, shape: Sequence[int]) -> Array:
    """Cuts the item, or repeats it, along each dimension. A number is served as a row of one."""
    if item.ndim == 0:
        return np.full(shape, item)
    for axis, size in enumerate(shape):
        item = np.take(item, np.arange(size) % item.shape[axis], axis=axis)
    return item


def _vary(item: Array, example: Array, generator: np.random.Generator) -> Array:
    """Adds noise, within the values that the example has. An example of one value says nothing of their range."""
    deviation = float(example.std())
    varied = item + generator.normal(0, _SPREAD * deviation if deviation else 1.0, item.shape)
    kept: Array = varied.clip(example.min(), example.max()) if deviation else varied
    return kept.astype(example.dtype)
