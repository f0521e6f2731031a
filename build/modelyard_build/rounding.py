"""A served step's floats held against PyTorch's own rounding. numpy alone, as `similarity`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelyard_build.errors import VerificationFailed
from modelyard_build.model import Array
from modelyard_build.quality import EXACT
from modelyard_build.similarity import min_cosine

# What float32 and float64 differ by, as a share of an item's largest value, where they did not part ways.
_ROUNDING = 1e-3


def joined_rows(arrays: Sequence[Array]) -> Array:
    """Joins along the first dimension; what is smaller in another one is padded with zeros (b"") at its end."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    return np.concatenate([padded(array, (len(array), *shape)) for array in arrays])


def padded(array: Array, shape: Sequence[int]) -> Array:
    """The array with zeros at the end of each dimension, or b"" where it holds bytes, up to a shape."""
    filled = np.full(shape, b"", np.object_) if array.dtype == np.object_ else np.zeros(shape, array.dtype)
    filled[tuple(slice(size) for size in array.shape)] = array
    return filled


def hold(what: str, expected: Array, exact: Array, answer: Array) -> dict[str, float]:
    """Holds floats to the class *exact*: no further from float64 than PyTorch's own float32, give or take.

    An item in which float32 decides otherwise than float64 (a loop that ends a step earlier) is held against float32.

    Args:
        what: for the message.
        expected: PyTorch's answers, item by item; the first dimension is the items.
        exact: the same in float64.
        answer: the served answers.

    Returns:
        The evidence.

    Raises:
        VerificationFailed: naming the item that is furthest away.
    """
    if answer.dtype != expected.dtype or answer.ndim != expected.ndim:
        raise VerificationFailed(
            f"{what} is {answer.dtype} {list(answer.shape)}, PyTorch's is {expected.dtype} {list(expected.shape)}."
        )
    shape = np.max([expected.shape, exact.shape, answer.shape], axis=0)
    own, ideal, got = (padded(array, shape).astype(np.float64) for array in (expected, exact, answer))
    _check_finite(what, own, got)
    # What is no number in PyTorch is none in the answer either, and is no measure of rounding.
    own, ideal, got = (np.where(np.isfinite(own), array, 0.0) for array in (own, ideal, got))
    parted = np.array([_parts(own[item], ideal[item]) for item in range(len(own))], dtype=bool)
    truth = np.where(parted.reshape(-1, *[1] * (own.ndim - 1)), own, ideal)
    noise, largest = (float(np.abs(array).max(initial=0.0)) for array in (own - truth, truth))
    floor = max(noise, float(np.finfo(expected.dtype).eps) * largest)
    errors = np.abs(got - truth).reshape(len(got), -1).max(axis=1, initial=0.0)
    cosine = min_cosine(truth, got)
    evidence = {
        "noise_floor": floor,
        "bound": EXACT.noise_factor * floor,
        "max_error": float(errors.max(initial=0.0)),
        "max_error_in_floors": float(errors.max(initial=0.0)) / floor if floor else 0.0,
        "min_cosine": cosine,
        "held_against_float32": int(parted.sum()),
    }
    if evidence["max_error"] > evidence["bound"] or cosine < EXACT.min_cosine:
        raise VerificationFailed(
            f"{what} differs from PyTorch by {evidence['max_error']:.3g} for item {int(errors.argmax())}, with a "
            f"cosine of {cosine:.7f}; allowed are {evidence['bound']:.3g}, {EXACT.noise_factor:g} times PyTorch's own "
            f"float32 noise of {floor:.3g}, and {EXACT.min_cosine}. PyTorch ran each item alone: a module that "
            "mixes the items of a batch can be served with max_batch_size 1 only."
        )
    return evidence


def _check_finite(what: str, own: Array, got: Array) -> None:
    differing = np.argwhere(np.isfinite(own) != np.isfinite(got))
    if len(differing):
        raise VerificationFailed(
            f"{what} of item {int(differing[0][0])} is finite where PyTorch's is not, or not finite where PyTorch's is."
        )


def _parts(own: npt.NDArray[np.float64], ideal: npt.NDArray[np.float64]) -> bool:
    """Whether float32 and float64 went separate ways in an item."""
    if not np.isfinite(ideal).all():
        return True
    return float(np.abs(own - ideal).max(initial=0.0)) > _ROUNDING * float(np.abs(ideal).max(initial=0.0))
