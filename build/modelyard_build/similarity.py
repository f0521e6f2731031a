"""How alike two arrays are. numpy alone: what a build with nothing to do imports stays light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelyard_build.model import Array

# Keeps the division of a zero row by its own length defined.
_TINY = 1e-30


def min_cosine(expected: Array, answer: Array) -> float:
    """The least cosine similarity between rows along the last dimension; 1 where both are zero."""
    left = expected.reshape(-1, expected.shape[-1]).astype(np.float64)
    right = answer.reshape(-1, answer.shape[-1]).astype(np.float64)
    product = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    both_zero = ~left.any(axis=1) & ~right.any(axis=1)
    cosine = np.where(both_zero, 1.0, (left * right).sum(1) / np.maximum(product, _TINY))
    return float(cosine.min(initial=1.0))


def agreement(expected: Sequence[Array], answers: Sequence[Array], cosine: float = 1.0) -> float:
    """The share of rows, along the last dimension, that have their largest element where the expected row has it.

    Where elements of the expected row are as good as equal, each of them is right. Turned by the angle of the cosine, a
    row of length l moves by l * sqrt(2 - 2 * cosine); a quarter of that between two elements is no order.

    Args:
        expected: float [..., classes] each.
        answers: the same.
        cosine: what rows are allowed to be away; 1 asks for the very place.
    """
    same = [
        _largest_in_place(left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1]), cosine)
        for left, right in zip(expected, answers, strict=True)
    ]
    return float(np.concatenate(same).mean())


def _largest_in_place(expected: Array, answer: Array, cosine: float) -> npt.NDArray[np.bool_]:
    values = expected.astype(np.float64)
    chosen = np.take_along_axis(values, answer.argmax(-1)[:, None], -1)[:, 0]
    slack = np.linalg.norm(values, axis=-1) * np.sqrt(2 - 2 * cosine) / 4
    right: npt.NDArray[np.bool_] = chosen >= values.max(-1) - slack
    return right
