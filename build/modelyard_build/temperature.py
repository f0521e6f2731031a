"""Temperature scaling: one number that makes a classifier's probabilities mean what they say.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599: the logits are divided
by T before the softmax. The most probable class stays the same; above 1 the probabilities become more modest.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[np.int64]

# Where each item is told apart without a mistake the likelihood has no maximum: T goes no further than this.
LOWEST, HIGHEST = 0.05, 20.0
BINS = 5


def scaled(logits: npt.ArrayLike, temperature: float) -> Floats:
    """Probabilities: softmax of the logits divided by the temperature, in float64.

    Args:
        logits: float [items, classes].
        temperature: above 0; 1 changes nothing.
    """
    values = np.asarray(logits, np.float64) / temperature
    powers = np.exp(values - values.max(-1, keepdims=True))
    shares: Floats = powers / powers.sum(-1, keepdims=True)
    return shares


def negative_log_likelihood(probabilities: npt.ArrayLike, labels: Labels) -> float:
    """Of the labels, the mean over the items.

    Args:
        probabilities: float [items, classes].
        labels: int64 [items].
    """
    own = np.asarray(probabilities, np.float64)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


def fit(logits: npt.ArrayLike, labels: Labels) -> float:
    """The temperature under which the labels are most likely.

    The likelihood is concave in 1/T, so that its one slope is followed by bisection.

    Args:
        logits: float [items, classes], of items that the net was not trained with.
        labels: the class of each, int64 [items].
    """
    values = np.asarray(logits, np.float64)
    own = values[np.arange(len(labels)), labels]
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(60):
        middle = (low + high) / 2
        # The slope of the log likelihood in 1/T: the label's logit less the one that is expected.
        rising = (own - (scaled(values, 1 / middle) * values).sum(-1)).mean() >= 0
        low, high = (middle, high) if rising else (low, middle)
    return 2 / (low + high)


def left_out(logits: npt.ArrayLike, labels: Labels, groups: Labels) -> Floats:
    """The probabilities of each item under the temperature that the other groups give: an honest look at few items.

    Args:
        logits: float [items, classes].
        labels: int64 [items].
        groups: what belongs together, such as views of one thing, has one number: int64 [items].

    Returns:
        Float64 [items, classes].
    """
    values, found = np.asarray(logits, np.float64), np.empty(np.shape(logits))
    for group in np.unique(groups):
        own = groups == group
        found[own] = scaled(values[own], fit(values[~own], labels[~own]))
    return found


def expected_calibration_error(probabilities: npt.ArrayLike, labels: Labels, bins: int = BINS) -> float:
    """How far the confidence of the most probable class is from how often it is right, 0 to 1 (Guo et al., section 2).

    Args:
        probabilities: float [items, classes].
        labels: int64 [items].
        bins: parts of equal width between 1 / classes, the least confidence there is, and 1.
    """
    shares = np.asarray(probabilities, np.float64)
    confidence, right = shares.max(-1), shares.argmax(-1) == labels
    least = 1 / shares.shape[-1]
    number = np.minimum(((confidence - least) / (1 - least) * bins).astype(int), bins - 1)
    parts = [number == part for part in range(bins)]
    return float(sum(abs(confidence[part].sum() - right[part].sum()) for part in parts) / len(labels))


def brier_score(probabilities: npt.ArrayLike, labels: Labels) -> float:
    """The mean squared distance of a two-class probability from what is the case, 0 to 1 (Brier, 1950).

    Args:
        probabilities: float [items, 2].
        labels: int64 [items].
    """
    return float(np.mean((np.asarray(probabilities, np.float64)[:, 1] - labels) ** 2))
