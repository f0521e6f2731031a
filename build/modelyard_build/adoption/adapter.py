"""A module as the build takes it: named tensors in by keyword, a tuple of tensors out, the batch first in each.

Triton knows no item without dimensions: one number for each item is a row of one number outside, and what the module's
author made of it inside.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from modelyard_build.adoption.answers import leaves


class Adapter(nn.Module):
    """Calls a module with its own signature, and takes the declared outputs out of what it returns.

    Made by `adapt`, which gives it a `forward` with the inputs as its parameters.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[str],
        outputs: Mapping[str, str],
        batch: Mapping[str, int],
        numbers: Sequence[str],
    ):
        super().__init__()
        self.module = module
        self._numbers = frozenset(numbers)
        self._by_position, self._by_keyword = parameters_for(module, inputs)
        self._places = tuple((place, batch.get(name, 0)) for name, place in outputs.items())

    def call(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        """What the module itself returns."""
        given = {name: tensor.squeeze(1) if name in self._numbers else tensor for name, tensor in tensors.items()}
        return self.module(
            *(given[name] for name in self._by_position), **{name: given[name] for name in self._by_keyword}
        )

    def answer(self, **tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The declared outputs, in order."""
        found = dict(leaves(self.call(tensors)))
        return tuple(_batch_first(found[place], at) for place, at in self._places)


def _batch_first(tensor: torch.Tensor, batch: int) -> torch.Tensor:
    first = tensor.movedim(batch, 0) if batch else tensor
    return first.unsqueeze(1) if first.ndim == 1 else first


def adapt(
    module: nn.Module,
    inputs: Sequence[str],
    outputs: Mapping[str, str],
    batch: Mapping[str, int] | None = None,
    numbers: Sequence[str] = (),
) -> Adapter:
    """Makes the adapter of a module.

    Args:
        module: as its author wrote it.
        inputs: the names of the declared inputs, in order.
        outputs: where each declared output stands in what the module returns; see `answers`.
        batch: the dimension that is the batch, for outputs in which it is not the first.
        numbers: the inputs that have one number for each item, and no further dimension inside.
    """
    arguments = ", ".join(inputs)
    passed = ", ".join(f"{name}={name}" for name in inputs)
    # Exporters and TorchScript read the names of inputs off forward's parameters.
    forward = eval(f"lambda self, {arguments}: self.answer({passed})")  # noqa: S307  # of names that are identifiers
    kind: type[Adapter] = type(type(module).__name__, (Adapter,), {"forward": forward})
    return kind(module, inputs, outputs, batch or {}, numbers).eval()


def parameters_for(module: nn.Module, inputs: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which inputs are passed by position, and which by keyword.

    An input goes to the parameter of its name; what has none goes to parameters that take positions only, in order,
    then to `*args`, or else to `**kwargs`.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if not any(one.kind in (one.POSITIONAL_ONLY, one.VAR_POSITIONAL) for one in parameters):
        return (), tuple(inputs)
    # What stands before *args can be passed by position alone.
    first = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name in inputs]
    spread = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    rest = [name for name in inputs if name not in named]
    by_position = [*first, *rest] if spread else rest
    return tuple(by_position), tuple(name for name in inputs if name not in by_position)
