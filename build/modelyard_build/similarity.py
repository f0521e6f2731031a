"""How alike two arrays are. numpy alone: what a build with nothing to do imports stays light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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


def agreement(expected: Sequence[Array], answers: Sequence[Array]) -> float:
    """The share of rows, along the last dimension, that have their largest element at the same place (0 to 1)."""
    same = [
        (right.reshape(-1, right.shape[-1]).argmax(-1) == left.reshape(-1, left.shape[-1]).argmax(-1))
        for left, right in zip(expected, answers, strict=True)
    ]
    return float(np.concatenate(same).mean())
