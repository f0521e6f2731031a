"""Intervals around what was measured in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the limits that hold it with 95 % confidence."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def scaled(self, factor: float) -> Interval:
        """The same in another unit."""
        return Interval(self.mean * factor, self.low * factor, self.high * factor)


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean; at least two values."""
    sample = np.asarray(values)
    spread = stats.t.ppf((1 + CONFIDENCE) / 2, len(sample) - 1) * stats.sem(sample)
    mean = float(sample.mean())
    return Interval(mean, mean - float(spread), mean + float(spread))


def ratio_interval(ratios: Sequence[float]) -> Interval:
    """Student's t interval of the geometric mean of ratios, each of one pair."""
    logs = mean_interval(np.log(ratios).tolist())
    mean, low, high = np.exp([logs.mean, logs.low, logs.high]).tolist()
    return Interval(mean, low, high)
