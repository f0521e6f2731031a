"""Optimization profiles: for which shapes an engine is built, and for which it is tuned. Pure functions of a model.

One profile is enough for most models. A second one pays where requests are of two kinds that are far apart, such as
short queries and long documents: kernels tuned for 128 tokens are not the fastest at 16. It costs as much build time
again, and each execution context its own activation memory. Triton takes, for every batch, the profile with the nearest
optimum among those that hold its shapes; it does so only among those that `instance_group.profile` lists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Axis, Model, Tensor


@dataclass(frozen=True)
class Shapes:
    """The shapes of one input in one profile, the batch first where the model has one.

    Attributes:
        min: the smallest size of each dimension.
        opt: the sizes that kernels are tuned for.
        max: the largest size of each dimension.
    """

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """One profile.

    Attributes:
        inputs: the shapes of every input, by its name.
    """

    inputs: dict[str, Shapes]


def one_profile(model: Model) -> tuple[Profile, ...]:
    """Everything that the model declares, tuned for its optimum."""
    return (Profile({tensor.name: _shapes(model, tensor) for tensor in model.inputs}),)


def short_and_long(model: Model) -> tuple[Profile, ...]:
    """Two profiles: everything, and beside it the lower half of each axis, tuned for a quarter.

    The first still holds every shape, so that no request depends on the second.
    """
    short = {tensor.name: _shapes(model, _shortened(tensor)) for tensor in model.inputs}
    return (*one_profile(model), Profile(short))


def _shapes(model: Model, tensor: Tensor) -> Shapes:
    # A model that does not batch has no dimension for it.
    most = model.max_batch_size
    batch = Axis("batch", 1, most, min(model.optimum_batch_size, most))
    dims = (batch, *tensor.dims) if most else tensor.dims
    return Shapes(
        min=tuple(dim.min if isinstance(dim, Axis) else dim for dim in dims),
        opt=tuple(dim.opt if isinstance(dim, Axis) else dim for dim in dims),
        max=tuple(dim.max if isinstance(dim, Axis) else dim for dim in dims),
    )


def _shortened(tensor: Tensor) -> Tensor:
    return dataclasses.replace(tensor, dims=tuple(_lower_half(dim) for dim in tensor.dims))


def _lower_half(dim: int | Axis) -> int | Axis:
    if isinstance(dim, int):
        return dim
    return Axis(dim.name, dim.min, dim.opt, max(dim.min, dim.opt // 2))


def check_profiles(model: Model, profiles: Sequence[Profile]) -> None:
    """Holds profiles against what the model promises its callers.

    Raises:
        ArtefactFailed: a profile is not well formed, or no profile holds every declared shape.
    """
    for number, profile in enumerate(profiles):
        _check_profile(model, number, profile)
    whole = one_profile(model)[0]
    if not any(_holds(profile, whole) for profile in profiles):
        names = ", ".join(f"{name} {list(shapes.max)}" for name, shapes in whole.inputs.items())
        got = "; ".join(
            ", ".join(f"{name} {list(shapes.max)}" for name, shapes in profile.inputs.items()) for profile in profiles
        )
        raise ArtefactFailed(
            f"{model.name}: no optimization profile holds every shape that is declared: the largest are {names}, the "
            f"profiles end at {got or 'nothing'}. Triton would refuse such a request. Widen a profile, or declare a "
            "smaller max_batch_size or axis."
        )


def _check_profile(model: Model, number: int, profile: Profile) -> None:
    where = f"{model.name}: optimization profile {number}"
    batched = bool(model.max_batch_size)
    expected = {tensor.name: len(tensor.dims) + batched for tensor in model.inputs}
    if set(profile.inputs) != set(expected):
        raise ArtefactFailed(
            f"{where} names {', '.join(profile.inputs) or 'no input'}; the model's inputs are {', '.join(expected)}. "
            "Give shapes for each of them."
        )
    for name, shapes in profile.inputs.items():
        if {len(shapes.min), len(shapes.opt), len(shapes.max)} != {expected[name]}:
            raise ArtefactFailed(
                f"{where}: {name!r} has min {list(shapes.min)}, opt {list(shapes.opt)}, max {list(shapes.max)}; "
                f"each needs {expected[name]} sizes, the batch first."
            )
        if not all(a <= b <= c for a, b, c in zip(shapes.min, shapes.opt, shapes.max, strict=True)):
            raise ArtefactFailed(
                f"{where}: {name!r} has min {list(shapes.min)}, opt {list(shapes.opt)}, max {list(shapes.max)}; "
                "every size must go up from min over opt to max."
            )
        if batched and shapes.min[0] != 1:
            raise ArtefactFailed(
                f"{where}: {name!r} begins at a batch of {shapes.min[0]}; it must be 1, because Triton sends a lone "
                "request on its own."
            )


def _holds(profile: Profile, whole: Profile) -> bool:
    return all(
        _within(shapes.min, profile.inputs[name].min) and _within(profile.inputs[name].max, shapes.max)
        for name, shapes in whole.inputs.items()
    )


def _within(larger: Sequence[int], smaller: Sequence[int]) -> bool:
    return all(a >= b for a, b in zip(larger, smaller, strict=True))
