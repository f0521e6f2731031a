"""What the demand forecaster's net reads, out of what a caller knows of a series. numpy alone.

The step `demand_features` does the same for the server, in code of its own; this is what it is held against, and what
the recipe trains with.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from modelyard_build.model import Array, Arrays

Floats: TypeAlias = npt.NDArray[np.float32]

# The net reads 56 weeks: a year, and four weeks for the same days of the year before.
CONTEXT = 392
HORIZON = 28
# Of a day that was: units sold, whether it is known, price, whether there was an event, SNAP.
PAST_COLUMNS = 5
# Of a day to come: price, four kinds of events, SNAP, weekday (7), day of the month, season (6), Thanksgiving,
# Christmas.
FUTURE_COLUMNS = 22
# Waves a year: 1, 2 and 3.
_HARMONICS = np.arange(1, 4)
_YEAR = 365.25
_THURSDAY = 3


def calendar_columns(dates: npt.NDArray[np.datetime64]) -> Floats:
    """What follows from the date alone, the last 16 columns of a day to come.

    Args:
        dates: datetime64[D] [...].

    Returns:
        float32 [..., 16].
    """
    days = dates.astype(np.int64)
    month_starts = dates.astype("datetime64[M]")
    month = month_starts.astype(np.int64) % 12 + 1
    day = (dates - month_starts).astype(np.int64) + 1
    day_of_year = (dates - dates.astype("datetime64[Y]")).astype(np.int64)
    # 1970-01-01 was a Thursday; 0 is Monday.
    weekday = (days + _THURSDAY) % 7
    angles = 2 * np.pi * (day_of_year / _YEAR)[..., None] * _HARMONICS
    thanksgiving = (month == 11) & (weekday == _THURSDAY) & (day > 21) & (day <= 28)
    christmas = (month == 12) & (day == 25)
    one_hot = weekday[..., None] == np.arange(7)
    columns = [one_hot, day[..., None] / 31, np.sin(angles), np.cos(angles), thanksgiving[..., None]]
    found: Floats = np.concatenate([*columns, christmas[..., None]], axis=-1).astype(np.float32)
    return found


def past(units: Array, known: Array, prices: Array, events: Array, snap: Array) -> Floats:
    """The days that were.

    Args:
        units: [items, CONTEXT], newest last; 0 where not known.
        known: bool [items, CONTEXT].
        prices: [items, CONTEXT]; 1 where not known.
        events: [items, CONTEXT, 4].
        snap: [items, CONTEXT].

    Returns:
        float32 [items, CONTEXT, 5].
    """
    stacked: Floats = np.stack([units, known, prices, events.any(-1), snap], axis=-1).astype(np.float32)
    return stacked


def future(prices: Array, events: Array, snap: Array, calendar: Floats) -> Floats:
    """The days to come.

    Args:
        prices: [items, HORIZON].
        events: [items, HORIZON, 4].
        snap: [items, HORIZON].
        calendar: [items, HORIZON, 16], of `calendar_columns`.

    Returns:
        float32 [items, HORIZON, 22].
    """
    joined: Floats = np.concatenate([prices[..., None], events, snap[..., None], calendar], axis=-1).astype(np.float32)
    return joined


def net_inputs(inputs: Arrays) -> Arrays:
    """What the step must give: `past` and `future`, of requests with as many days each.

    Args:
        inputs: `history` [items, days], `prices` [items, days + HORIZON], `events` [items, days + HORIZON, 4], `snap`
            [items, days + HORIZON], `last_date` BYTES [items, 1].
    """
    days = min(inputs["history"].shape[1], CONTEXT)
    last = np.array([date.decode() for date in inputs["last_date"][:, 0]], dtype="datetime64[D]")
    coming = last[:, None] + np.arange(1, HORIZON + 1)
    newest = {name: inputs[name][:, -days - HORIZON :] for name in ("prices", "events", "snap")}
    filled: dict[str, Any] = {name: _filled(array[:, :days], name == "prices") for name, array in newest.items()}
    known = _filled(np.ones((len(last), days), dtype=bool))
    return {
        "past": past(_filled(inputs["history"][:, -days:]), known, **filled),
        "future": future(
            **{name: array[:, days:] for name, array in newest.items()}, calendar=calendar_columns(coming)
        ),
    }


def _filled(array: Array, with_ones: bool = False) -> Array:
    """Days before the first known one, up to CONTEXT."""
    missing = [(0, 0), (CONTEXT - array.shape[1], 0), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, missing, constant_values=int(with_ones))
