"""Whether the batch is a batch: every output has one row for each item, and an item is answered as it is alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modelyard_build.adoption.running import RunFailed, Runner
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import NUMPY_DTYPES

_DTYPES = {np.dtype(dtype).name: name for name, dtype in NUMPY_DTYPES.items()}
# Two sizes that a dimension must both follow: one alone may be met by chance.
BATCHES = (2, 3)
# An item's answer may differ by rounding from the one it gets alone: so much of the largest value.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Batched:
    """An output with a row for each item.

    Attributes:
        dtype: Triton's datatype name.
        batch: the dimension that is the batch.
    """

    dtype: str
    batch: int


def batched_outputs(runner: Runner, answers: Mapping[str, Any]) -> tuple[dict[str, Batched], list[str]]:
    """The outputs that can be served, by their places, and why the others cannot.

    Args:
        runner: the module.
        answers: what it answers to its example.

    Raises:
        AdoptionFailed: it works for one number of items alone, its items depend on one another, or nothing is left.
    """
    shapes = {name: array.shape[1:] for name, array in runner.example.items()}
    runs = [_run(runner, batch, shapes) for batch in BATCHES]
    outputs: dict[str, Batched] = {}
    left_out = []
    for place, value in answers.items():
        reason = _no_output(place, value, [run.get(place) for run in runs])
        if reason:
            left_out.append(f"output {place or 'output'!r} is left out: {reason}")
        else:
            at = _batch_dims([run[place] for run in runs])[0]
            outputs[place] = Batched(_dtype_of(place, value), at)
    if not outputs:
        raise AdoptionFailed(
            "the module returns nothing that can be served"
            + (f": {'; '.join(left_out)}" if left_out else "")
            + ". Let forward return a tensor whose first dimension is the batch."
        )
    _check_alone(runner, outputs, shapes, runs[-1])
    return outputs, left_out


def _run(runner: Runner, batch: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    try:
        return runner.at(batch, shapes)
    except RunFailed as error:
        given = ", ".join(f"{name} [{batch}, {', '.join(map(str, shape))}]" for name, shape in shapes.items())
        raise AdoptionFailed(
            f"the module takes its example, but not {batch} items ({given}): {error}. The first dimension of every "
            "input must be the batch, of any size. Give an example with the batch first; take the number of items from "
            "the tensor (x.shape[0]); make what is the same for every item a buffer of the module."
        ) from error


def _no_output(place: str, value: Any, runs: list[torch.Tensor | None]) -> str:
    """Why something cannot be served; empty where it can."""
    if not isinstance(value, torch.Tensor):
        return f"it is a {type(value).__name__}, no tensor"
    if value.ndim == 0:
        return "it is a single number for the whole batch"
    found = [run for run in runs if run is not None]
    if len(found) < len(runs) or any(run.ndim != value.ndim for run in found):
        return "it is there, or has its dimensions, at some batch sizes only"
    dims = _batch_dims(found)
    if not dims and found[0].shape == found[1].shape:
        return f"it is {list(value.shape)} whatever the number of items: it has no batch"
    if not dims:
        seen = " and ".join(f"{list(run.shape)} for {batch}" for run, batch in zip(found, BATCHES, strict=True))
        return f"no dimension of it is the number of items ({seen})"
    if len(dims) > 1:
        return f"dimensions {dims[0]} and {dims[1]} both follow the number of items: it sets items beside each other"
    return ""


def _batch_dims(runs: list[torch.Tensor]) -> list[int]:
    sizes = zip(*(run.shape for run in runs), strict=True)
    return [at for at, size in enumerate(sizes) if size == BATCHES]


def _dtype_of(place: str, value: torch.Tensor) -> str:
    name = str(value.dtype).removeprefix("torch.")
    if name not in _DTYPES:
        way = "torch.view_as_real" if value.is_complex() else ".float()"
        raise AdoptionFailed(
            f"output {place or 'output'!r} is {name}, which is not served. Let forward return it through {way}."
        )
    return _DTYPES[name]


def _check_alone(
    runner: Runner,
    outputs: Mapping[str, Batched],
    shapes: Mapping[str, tuple[int, ...]],
    together: Mapping[str, torch.Tensor],
) -> None:
    """Holds each item of a batch against the same item alone."""
    for item in range(BATCHES[-1]):
        try:
            alone = runner.at(1, shapes, first=item)
        except RunFailed as error:
            raise AdoptionFailed(
                f"the module takes {BATCHES[-1]} items, but not one alone: {error}. Look for squeeze() without a "
                "dimension, or statistics over the batch."
            ) from error
        for place, output in outputs.items():
            row = together[place].narrow(output.batch, item, 1)
            _check_row(place or "output", row, alone.get(place))


def _check_row(name: str, row: torch.Tensor, alone: torch.Tensor | None) -> None:
    if alone is None or alone.shape != row.shape:
        got = "is missing" if alone is None else f"is {list(alone.shape)}"
        if alone is not None and alone.ndim == row.ndim:
            raise AdoptionFailed(
                f"output {name!r} {got} for an item alone and {list(row.shape)} for it in a batch: its size depends "
                "on values. A batch has one size for all. Return a fixed number of rows, and a mask or a count."
            )
        raise AdoptionFailed(
            f"output {name!r} {got} for one item alone; expected is {list(row.shape)}. Look for squeeze() without a "
            "dimension: it drops a batch of 1, too. Write squeeze(-1), or whichever dimension is meant."
        )
    difference = (row.double() - alone.double()).abs().nan_to_num()
    allowed = _ROUNDING * max(1e-6, float(row.double().abs().nan_to_num().max())) if row.numel() else 0.0
    if row.numel() and float(difference.max()) > allowed:
        raise AdoptionFailed(
            f"output {name!r} of an item differs by {float(difference.max()):.3g} between alone and in a batch: its "
            "items depend on one another. A server joins the requests of strangers into batches. Look for an operation "
            "over dimension 0 (softmax, mean, attention that expects the batch second), or batch norm in train mode."
        )
