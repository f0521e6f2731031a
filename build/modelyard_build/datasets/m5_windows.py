"""Forecasts of M5's series judged: the windows that are held out, plain forecasts to beat, and the figures.

A window is a series and its origin: the number of days that are known. The 28 days from there on are to be forecast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from modelyard_build.datasets.m5 import Demand
from modelyard_build.model import Array, Arrays

Indices: TypeAlias = npt.NDArray[np.int64]

HORIZON, WEEK = 28, 7
# The last 84 days: nothing was trained or chosen by them.
TEST_ORIGINS = (1829, 1857, 1885)
# Those that the M5 "Uncertainty" competition asked for.
LEVELS = (0.005, 0.025, 0.165, 0.25, 0.5, 0.75, 0.835, 0.975, 0.995)
# What is known of a window, by column: the days before the origin, those after it, and two numbers.
BEFORE, AFTER = slice(0, HORIZON), slice(HORIZON, 2 * HORIZON)
VARIATION, REVENUE = 2 * HORIZON, 2 * HORIZON + 1


def held_out(demand: Demand, origins: tuple[int, ...]) -> tuple[Indices, Indices]:
    """Every window at some origins of which four weeks at least are known.

    Args:
        demand: the series.
        origins: of the windows.

    Returns:
        Series and origin of each.
    """
    found = [(series, origin) for origin in origins for series in range(len(demand.units))]
    kept = [(series, origin) for series, origin in found if demand.starts[series] + HORIZON <= origin]
    series, starts = np.array(kept, dtype=np.int64).T
    return series, starts


def truth_of(demand: Demand, series: Indices, origins: Indices) -> npt.NDArray[np.float32]:
    """What is known of each window: see `BEFORE`, `AFTER`, `VARIATION`, `REVENUE`.

    Returns:
        float32 [windows, 58]: the units of the 28 days before and of those after; the mean squared difference from day
        to day since the first sale; the revenue of the 28 days before.
    """
    rows = [_truth(demand, number, origin) for number, origin in zip(series, origins, strict=True)]
    return np.stack(rows).astype(np.float32)


def _truth(demand: Demand, series: int, origin: int) -> npt.NDArray[np.float64]:
    units = demand.units[series].astype(np.float64)
    variation = np.square(np.diff(units[demand.starts[series] : origin])).mean()
    before = slice(origin - HORIZON, origin)
    revenue = float(units[before] @ demand.prices[series, before])
    return np.concatenate([units[origin - HORIZON : origin + HORIZON], [variation, revenue]])


def requests(demand: Demand, series: Indices, origins: Indices, days: int) -> Arrays:
    """Windows as the served model is asked for them, each with as many days of history.

    Args:
        demand: the series.
        series: of each window.
        origins: of each window; `days` of it at least are known.
        days: of the history.
    """
    span = origins[:, None] + np.arange(-days, HORIZON)
    row = series[:, None]
    return {
        "history": demand.units[row, span[:, :days]],
        "prices": demand.prices[row, span],
        "events": demand.events[span],
        "snap": demand.snap[row, span],
        "last_date": np.array([[str(demand.dates[origin - 1]).encode()] for origin in origins], dtype=np.object_),
    }


def figures(outputs: Arrays, truth: Array) -> Mapping[str, float]:
    """How far the forecasts are off; all are better when lower.

    - RMSSE: root mean squared scaled error of the mean, M5's own (Makridakis et al., 2022): the squared error of the 28
      days over the mean squared difference from day to day in the series' history; the mean over windows, unweighted.
    - weighted RMSSE: the same, weighted by the revenue of the 28 days before: M5's weights, at its lowest level.
    - weighted quantile loss: twice the pinball loss, summed over all windows and days, over all units sold; the mean of
      the nine levels (as in GluonTS' `mean_weighted_sum_quantile_loss`: Alexandrov et al., 2020).
    """
    after = truth[:, AFTER].astype(np.float64)
    squared = np.square(after - outputs["mean"]).mean(1)
    # A series that never varied says nothing by this measure.
    varied = truth[:, VARIATION] > 0
    scaled = np.sqrt(squared[varied] / truth[varied, VARIATION])
    error = after[..., None] - outputs["quantiles"]
    pinball = np.maximum(np.array(LEVELS) * error, (np.array(LEVELS) - 1) * error)
    return {
        "RMSSE": float(scaled.mean()),
        "weighted RMSSE": float(np.average(scaled, weights=truth[varied, REVENUE])),
        "weighted quantile loss": float(2 * pinball.mean(-1).sum() / after.sum()),
    }


def coverage(outputs: Arrays, truth: Array) -> dict[str, float]:
    """For each level the share of days on which no more was sold than its quantile, rounded to whole units."""
    sold = truth[:, AFTER, None]
    return {
        str(level): round(float((sold <= np.round(outputs["quantiles"]))[..., index].mean()), 4)
        for index, level in enumerate(LEVELS)
    }


def plain_forecasts(truth: Array) -> dict[str, Arrays]:
    """Forecasts that anybody has: the last week again, and the last four weeks' mean with their own quantiles."""
    before = truth[:, BEFORE]
    week = np.tile(before[:, -WEEK:], (1, HORIZON // WEEK))
    mean = np.repeat(before.mean(1, keepdims=True), HORIZON, axis=1)
    quantiles = np.quantile(before, LEVELS, axis=1).T
    return {
        "seasonal naive": {"mean": week, "quantiles": np.repeat(week[..., None], len(LEVELS), axis=-1)},
        "28-day mean": {"mean": mean, "quantiles": np.repeat(quantiles[:, None], HORIZON, axis=1)},
    }
