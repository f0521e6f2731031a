"""A series' history, prices and calendar to what the demand net reads: a model for Triton's Python backend.

The net reads a fixed number of days. Of a longer history the newest are kept; a shorter one is filled up with days that
are marked as not known. Nothing is guessed: a gap, a negative number or a price that is missing is an error that names
the day.

Reads from config.pbtxt's `parameters`:

- `context`: days that the net reads; another number needs another net.
- `horizon`: days ahead that it answers for; likewise.
- `min_days`: a shorter history is refused.
- `max_days`: so is a longer one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

Array: TypeAlias = npt.NDArray[Any]

# Kinds of events: sporting, cultural, national, religious.
EVENT_TYPES = 4
# More of a product is sold in no shop on a day; far above it float32 overflows in the net.
MOST = 1e9
HARMONICS = np.arange(1, 4)
DAYS_OF_YEAR = 365.25
THURSDAY = 3


class InvalidSeries(ValueError):
    """A series that cannot be forecast; the message is the request's answer."""


@dataclass(frozen=True)
class Limits:
    """The step's parameters; see the head of this file."""

    context: int
    horizon: int
    min_days: int
    max_days: int


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters.

        Args:
            args: Triton's description of the instance.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        self.limits = Limits(**{name: _integer(parameters, name) for name in Limits.__dataclass_fields__})

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request; one with a bad series fails alone.

        Args:
            requests: each with `history` FP32 [batch, days], `prices` FP32, `events` UINT8 and `snap` UINT8 of as many
                days and the horizon, `last_date` BYTES [batch, 1].

        Returns:
            A response for each: `past` FP32 [batch, context, 5] and `future` FP32 [batch, horizon, 22].
        """
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        names = ("history", "prices", "events", "snap", "last_date")
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names}
        try:
            past, future = features(self.limits, **tensors)
        except InvalidSeries as error:
            reason = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=reason)
        return pb_utils.InferenceResponse([pb_utils.Tensor("past", past), pb_utils.Tensor("future", future)])


def features(
    limits: Limits, history: Array, prices: Array, events: Array, snap: Array, last_date: Array
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What the net reads, float32 [batch, context, 5] and [batch, horizon, 22].

    Raises:
        InvalidSeries: the series is too short or too long, has gaps, or its parts do not fit together.
    """
    _check_lengths(limits, history, prices, events, snap)
    _check_values(limits, history, prices, events, snap)
    dates = np.array([_date(item, position) for position, item in enumerate(last_date[:, 0])])
    days = min(history.shape[1], limits.context)
    past = np.zeros((len(history), limits.context, 5), dtype=np.float32)
    past[..., 2] = 1
    newest = past[:, limits.context - days :]
    newest[..., 0] = history[:, -days:]
    newest[..., 1] = 1
    were = slice(-days - limits.horizon, -limits.horizon)
    newest[..., 2] = prices[:, were]
    newest[..., 3] = events[:, were].any(-1)
    newest[..., 4] = snap[:, were]
    coming = slice(-limits.horizon, None)
    calendar = _calendar(dates[:, None] + np.arange(1, limits.horizon + 1))
    future = [prices[:, coming, None], events[:, coming], snap[:, coming, None], *calendar]
    return past, np.concatenate(future, axis=-1, dtype=np.float32)


def _check_lengths(limits: Limits, history: Array, prices: Array, events: Array, snap: Array) -> None:
    days = history.shape[1]
    if days < limits.min_days:
        raise InvalidSeries(
            f"history has {days} days, at least {limits.min_days} are needed. Send more days, up to {limits.context} "
            "are used; of a new product forecast a similar one."
        )
    if days > limits.max_days:
        raise InvalidSeries(
            f"history has {days} days, at most {limits.max_days} are read and the newest {limits.context} used. Send "
            "the newest ones."
        )
    expected = days + limits.horizon
    for name, array in (("prices", prices), ("events", events), ("snap", snap)):
        if array.shape[1] != expected:
            raise InvalidSeries(
                f"{name} has {array.shape[1]} days, expected {expected}: the {days} of the history and the "
                f"{limits.horizon} to come. Send a value for each of them."
            )


def _check_values(limits: Limits, history: Array, prices: Array, events: Array, snap: Array) -> None:
    # NaN is not greater or equal to anything.
    _check("history", history, lambda units: (units >= 0) & (units <= MOST), "units sold, 0 to 1e9; a gap is no 0")
    _check("prices", prices, lambda price: (price > 0) & (price <= MOST), "a price above 0; say the last one again")
    for name, array in (("events", events), ("snap", snap)):
        _check(name, array, lambda flag: flag <= 1, "0 or 1")


def _check(name: str, array: Array, good: Callable[[Array], npt.NDArray[np.bool_]], expected: str) -> None:
    bad = np.argwhere(~good(array))
    if len(bad):
        item, *place = (int(index) for index in bad[0])
        where = "".join(f"[{index}]" for index in place)
        raise InvalidSeries(
            f"{name}{where} of series {item} is {array[tuple(bad[0])]}, expected {expected}. {len(bad)} of "
            f"{array.size} values are like it."
        )


def _date(element: bytes, position: int) -> np.datetime64:
    try:
        return np.datetime64(datetime.strptime(element.decode(), "%Y-%m-%d").date(), "D")
    except ValueError:
        raise InvalidSeries(
            f"last_date of series {position} is {element[:40]!r}, expected the date of the history's last day, such as "
            "2016-04-24."
        ) from None


def _calendar(dates: npt.NDArray[np.datetime64]) -> list[Array]:
    """Columns that follow from dates [batch, horizon], each [batch, horizon, *]."""
    month_starts, year_starts = dates.astype("datetime64[M]"), dates.astype("datetime64[Y]")
    month = month_starts.astype(np.int64) % 12 + 1
    day = (dates - month_starts).astype(np.int64) + 1
    # Day 0 of the epoch was a Thursday; Monday is 0.
    weekday = (dates.astype(np.int64) + THURSDAY) % 7
    turn = 2 * np.pi * ((dates - year_starts).astype(np.int64) / DAYS_OF_YEAR)[..., None] * HARMONICS
    thanksgiving = (month == 11) & (weekday == THURSDAY) & (day > 21) & (day <= 28)
    christmas = (month == 12) & (day == 25)
    single = [thanksgiving[..., None], christmas[..., None]]
    return [weekday[..., None] == np.arange(7), day[..., None] / 31, np.sin(turn), np.cos(turn), *single]


def _integer(parameters: dict[str, dict[str, str]], name: str) -> int:
    """A positive integer out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    if not value.isdigit() or int(value) < 1:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a positive whole number as string_value. "
            "Mend it in config.pbtxt."
        )
    return int(value)
