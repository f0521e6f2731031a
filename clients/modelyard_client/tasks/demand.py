"""What the tasks on demand share without I/O: a series and its calendar as tensors, a forecast out of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from modelyard_client.datatypes import Array
from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata
from modelyard_client.result import Result

# In the order in which the model takes them.
EVENT_TYPES = ("Sporting", "Cultural", "National", "Religious")
AHEAD = ("prices", "events", "snap", "last_date")
OUTPUTS = ("quantiles", "mean")

Numbers: TypeAlias = Sequence[float] | Array


@dataclass(frozen=True)
class Calendar:
    """What is known of days, before and after today; of a day that is not named: nothing.

    Attributes:
        events: Date -> the kind of the event on it, one of `EVENT_TYPES`, or several of them.
        snap: The dates on which food can be bought with SNAP benefits where the shop is.
    """

    events: Mapping[date, str | Collection[str]] = field(default_factory=dict)
    snap: Collection[date] = ()

    def columns(self, first: date, days: int) -> dict[str, Array]:
        """The days from `first` on: `events` uint8 [days, 4] and `snap` uint8 [days].

        Raises:
            InvalidInput: An event is of another kind.
        """
        events, snap = np.zeros((days, len(EVENT_TYPES)), np.uint8), np.zeros(days, np.uint8)
        for day, kinds in self.events.items():
            if 0 <= (place := (day - first).days) < days:
                events[place] = _flags(day, kinds)
        for day in self.snap:
            if 0 <= (place := (day - first).days) < days:
                snap[place] = 1
        return {"events": events, "snap": snap}


def _flags(day: date, kinds: str | Collection[str]) -> list[bool]:
    named = {kinds} if isinstance(kinds, str) else set(kinds)
    if unknown := named - set(EVENT_TYPES):
        raise InvalidInput(f"the event on {day} is {sorted(unknown)}; the model knows {', '.join(EVENT_TYPES)}.")
    return [kind in named for kind in EVENT_TYPES]


@dataclass(frozen=True)
class Series:
    """What is known of a product in a shop.

    Attributes:
        history: Units sold on each day, the newest last; 0 on a day without a sale. From the first sale on: before it
            the product was not there.
        prices: The price on each of these days and on each of the days to come; or one number, where it never changes.
        last_date: The date of the newest day in `history`.
        calendar: Events and SNAP days, before and after it.
    """

    history: Numbers
    prices: Numbers | float
    last_date: date
    calendar: Calendar = field(default_factory=Calendar)


@dataclass(frozen=True)
class Forecast:
    """What will be sold.

    Attributes:
        dates: The days to come.
        levels: Of the quantiles, ascending, between 0 and 1.
        quantiles: Units, float32 [days, levels]: with the probability of the level no more is sold on the day.
        mean: The units expected on each day, float32 [days].
    """

    dates: tuple[date, ...]
    levels: tuple[float, ...]
    quantiles: Array
    mean: Array

    def quantile(self, level: float) -> Array:
        """One of the quantiles: float32 [days]; 0.5 is the median.

        Raises:
            InvalidInput: The model does not give it.
        """
        if level not in self.levels:
            raise InvalidInput(f"there is no quantile {level}; the model gives {', '.join(map(str, self.levels))}.")
        array: Array = self.quantiles[:, self.levels.index(level)]
        return array


@dataclass(frozen=True)
class DemandModel:
    """What a task must know of its model.

    Attributes:
        name: Of the model.
        levels: Of its quantiles.
        horizon: Days ahead that it answers for.
        context: Days of history that it uses.
    """

    name: str
    levels: tuple[float, ...]
    horizon: int
    context: int


def demand_model(metadata: ModelMetadata, config: Any, sold: str) -> DemandModel:
    """Reads what a task must know.

    Args:
        metadata: Of the model.
        config: Of it; its parameters `levels` and `context` are read.
        sold: The name of the input of units sold.

    Raises:
        IncompatibleModel: A tensor or a parameter is missing.
    """
    known = {spec.name: spec for spec in (*metadata.inputs, *metadata.outputs)}
    if missing := [name for name in (sold, *AHEAD, *OUTPUTS) if name not in known]:
        raise IncompatibleModel(
            f"model '{metadata.name}' has no {', '.join(missing)}; this task needs the inputs {sold}, "
            f"{', '.join(AHEAD)} and the outputs {', '.join(OUTPUTS)}. Pass the name of such a model.",
            model=metadata.name,
        )
    parameters = {name: parameter.string_value for name, parameter in config.parameters.items()}
    try:
        levels = tuple(float(level) for level in parameters["levels"].split())
        context = int(parameters["context"])
    except (KeyError, ValueError):
        levels, context = (), 0
    horizon, width = known["quantiles"].shape[-2:]
    if len(levels) != width or context < 1:
        raise IncompatibleModel(
            f"model '{metadata.name}' has the parameters {parameters}; this task needs levels, {width} numbers between "
            'spaces, and context, the days of history that are used: parameters { key: "context" value: '
            '{ string_value: "392" } }.',
            model=metadata.name,
        )
    return DemandModel(metadata.name, levels, horizon, context)


def tensors(model: DemandModel, series: Series, sold: str, where: str) -> dict[str, Array]:
    """A series as the model takes it, without days that it would not use.

    Args:
        model: The model.
        series: The series.
        sold: The name of the input of units sold.
        where: The series in words, for messages.

    Raises:
        InvalidInput: A part is no list of numbers, or its length does not fit.
    """
    units = numbers(series.history, f"{where}history")
    prices = spread(series.prices, len(units) + model.horizon, f"{where}prices", model.horizon)
    if not isinstance(series.last_date, date):
        raise InvalidInput(
            f"{where}last_date is a {type(series.last_date).__name__}; pass a datetime.date, the day of the newest "
            "number in history."
        )
    days = min(len(units), model.context)
    first = _day(series.last_date) - timedelta(days - 1)
    columns = series.calendar.columns(first, days + model.horizon)
    inputs = {sold: units[len(units) - days :], "prices": prices[len(units) - days :], **columns}
    last = np.array([[_day(series.last_date).isoformat().encode()]], dtype=np.object_)
    return {**{name: array[None] for name, array in inputs.items()}, "last_date": last}


def numbers(values: Any, what: str) -> npt.NDArray[np.float32]:
    """Numbers, one a day: float32 [days]. What each may be is for the model to say.

    Raises:
        InvalidInput: They are none.
    """
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what} is no list of numbers ({error}); pass one for each day.") from None
    if array.ndim != 1:
        raise InvalidInput(f"{what} has the shape {list(array.shape)}; pass a list with a number for each day.")
    return array


def spread(values: Numbers | float, days: int, what: str, horizon: int) -> npt.NDArray[np.float32]:
    """A number for each day, or one for all of them: float32 [days].

    Raises:
        InvalidInput: There are more or fewer.
    """
    if np.ndim(values) == 0:
        values = [values] * days  # type: ignore[list-item]  # a number, or what `numbers` refuses
    array = numbers(values, what)
    if len(array) != days:
        raise InvalidInput(
            f"{what} has {len(array)} days, expected {days}: one for each day sold and for the {horizon} to come. "
            "Where a price to come is not known, say the last one again."
        )
    return array


def forecast_of(model: DemandModel, result: Result, last_date: date) -> Forecast:
    """Reads an answer to one series."""
    dates = tuple(_day(last_date) + timedelta(ahead) for ahead in range(1, model.horizon + 1))
    return Forecast(dates, model.levels, result["quantiles"][0], result["mean"][0])


def checked_series(series: Iterable[Series]) -> list[Series]:
    """The series as they came.

    Raises:
        InvalidInput: There is none, or one is none.
    """
    if isinstance(series, Series) or not isinstance(series, Iterable):
        raise InvalidInput(f"series is a single {type(series).__name__}; pass a list of them: [series].")
    found = list(series)
    if not found:
        raise InvalidInput("series is empty; pass at least one.")
    for position, one in enumerate(found):
        if not isinstance(one, Series):
            raise InvalidInput(f"series[{position}] is a {type(one).__name__}; every one is a Series.")
    return found


def named(error: InvalidInput, position: int) -> InvalidInput:
    """The server's refusal of a series under its place in the caller's list: to the server it is the first."""
    if error.url is None:
        return error
    return InvalidInput(f"series[{position}]: {error}", url=error.url, model=error.model, request_id=error.request_id)


def later(series: Series, units: Numbers, prices: Numbers | float) -> Series:
    """The days after a series, as one of their own."""
    sold = numbers(units, "units")
    return replace(series, history=sold, prices=prices, last_date=_day(series.last_date) + timedelta(len(sold)))


def _day(moment: date) -> date:
    """A datetime is a date too, with a time that would spoil the arithmetic."""
    return date(moment.year, moment.month, moment.day)
