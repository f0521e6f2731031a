"""The inputs that a user gives or names, in place of those that are read off a model; what is known of them is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from modelyard_build.adoption.examples import read_example
from modelyard_build.adoption.hugging_face.inputs import BATCH, Input
from modelyard_build.adoption.input_specs import example_of, limits_of
from modelyard_build.adoption.origin import Limit, Wish
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Array


def with_said(wish: Wish, known: Sequence[Input]) -> list[Input]:
    """The inputs of `--example` or `--input`, else the known ones.

    Args:
        wish: what the user said.
        known: what was read off the model.

    Raises:
        AdoptionFailed: the example cannot be read, or `--weights` was given for a folder that has its own.
    """
    if wish.weights:
        raise AdoptionFailed(
            f"--weights {wish.weights}: a folder brings its own weights. Put them there as model.safetensors, or leave "
            "--weights out."
        )
    by_name = {one.name: one for one in known}
    draws = {**{one.name: one.draw for one in known if one.draw}, **wish.draws}
    if wish.example:
        arrays = read_example(wish.example)
        return [
            Input(name, array, _limits(array, by_name.get(name)), draws.get(name)) for name, array in arrays.items()
        ]
    if wish.inputs:
        arrays, limits = example_of(replace(wish, draws=draws), BATCH), limits_of(wish)
        return [Input(name, array, limits[name], draws.get(name)) for name, array in arrays.items()]
    return list(known)


def _limits(array: Array, known: Input | None) -> Mapping[int, Limit]:
    """What is known of dimensions, as far as the user's own example does not say otherwise."""
    sizes = dict(enumerate(array.shape[1:], 1))
    limits = known.limits if known and array.ndim == known.example.ndim else {}
    return {at: limit for at, limit in limits.items() if limit.min <= sizes[at] <= limit.max}
