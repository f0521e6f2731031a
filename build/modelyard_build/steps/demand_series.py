"""A series forecast again after each day, its history kept here: a model for Triton's Python backend, with sequences.

Each correlation id is a series. A request brings the days since the one before it, mostly one, and the prices and
calendar of these and of the days to come; it is answered with the forecast of the whole history so far. A request with
START may bring a long history: so a series begins, and goes on after its state was lost. One that brings no days asks
again, with other prices for the days to come. While fewer days are known than the forecaster needs, `days_missing` says
how many, and the forecasts are NaN.

The forecast is made by another model, which is called with all that is known, of several series at once: the answer is
the one that it gives to the same history sent as a whole. What a request brought is kept only once it is answered:
after an error the series stands where it stood.

Kept are the newest days that the forecaster uses, some 6 KB a series. A series goes at END, when it was not asked for
as long as Triton's own idle time, and when there are more than Triton lets live: then the one not asked for longest.

Reads from config.pbtxt's `parameters`:

- `forecaster`: the model that is called. It takes `history`, `prices`, `events`, `snap`, `last_date`.
- `forecaster_batch`: series that it is asked about at once; its max_batch_size at most.
- `context`: days of history that the forecaster uses.
- `horizon`: days ahead that it answers for.
- `levels`: those of its quantiles, between spaces.
- `min_days`: days of history that it needs.
- `max_days`: days that a request may bring.

and from `sequence_batching`: max_sequence_idle_microseconds and max_candidate_sequences.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

Array: TypeAlias = npt.NDArray[Any]

FORECASTS = ("quantiles", "mean")
ONE_DAY = np.timedelta64(1, "D")
# As the forecaster's own check: more of a product is sold in no shop on a day.
MOST = 1e9


class InvalidDay(ValueError):
    """Days that do not go on with the series; the message is the request's answer."""


@dataclass(frozen=True)
class Limits:
    """The step's parameters; see the head of this file."""

    context: int
    horizon: int
    min_days: int
    max_days: int
    forecaster_batch: int


@dataclass(frozen=True)
class Series:
    """What is known of a series: a row for each day.

    Attributes:
        units: float32 [days].
        prices: float32 [days].
        events: uint8 [days, kinds].
        snap: uint8 [days].
        last: the date of the last day.
        touched: when it was asked for last, in seconds of the monotonic clock.
    """

    units: Array
    prices: Array
    events: Array
    snap: Array
    last: np.datetime64
    touched: float


@dataclass
class Step:
    """A request on its way.

    Attributes:
        key: the correlation id.
        end: whether it is the sequence's last.
        failure: why it cannot be answered, Triton's error; None where it can.
        missing: days that are still needed for a forecast.
        series: the series with its days.
        ahead: prices, events and SNAP of the days to come.
        forecasts: the called model's answer.
    """

    key: int
    end: bool
    failure: Any = None
    missing: int = 0
    series: Series = field(init=False)
    ahead: dict[str, Array] = field(default_factory=dict)
    forecasts: dict[str, Array] = field(default_factory=dict)

    def inputs(self) -> dict[str, Array]:
        """What the called model is asked with, without the batch dimension."""
        series = self.series
        known = {"prices": series.prices, "events": series.events, "snap": series.snap}
        joined = {name: np.concatenate([array, self.ahead[name]]) for name, array in known.items()}
        last = np.array([str(series.last).encode()], dtype=np.object_)
        return {"history": series.units, **joined, "last_date": last}


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters and the limits of the sequence batcher.

        Args:
            args: Triton's description of the instance.
        """
        config = json.loads(args["model_config"])
        self.name = config["name"]
        self.limits = Limits(**{name: _integer(config["parameters"], name) for name in Limits.__dataclass_fields__})
        self.forecaster = _text(config["parameters"], "forecaster")
        quantiles = np.full((1, self.limits.horizon, len(_text(config["parameters"], "levels").split())), np.nan)
        self.nothing = {"quantiles": quantiles.astype(np.float32), "mean": quantiles[..., 0].astype(np.float32)}
        sequences = config["sequence_batching"]
        self.idle_s = int(sequences["max_sequence_idle_microseconds"]) / 1e6
        self.most = int(sequences["oldest"]["max_candidate_sequences"])
        self.kept: OrderedDict[int, Series] = OrderedDict()

    async def execute(self, requests: list[Any]) -> list[Any]:
        """Answers a request of each of several series; one with bad days fails alone.

        Args:
            requests: each with `units` FP32 [1, days], `prices` FP32, `events` UINT8 and `snap` UINT8 of as many days
                and the horizon, `last_date` BYTES [1, 1], and Triton's START, END and CORRID.

        Returns:
            A response for each: `quantiles` FP32 [1, horizon, levels], `mean` FP32 [1, horizon], `days_missing` INT32
            [1, 1].
        """
        self._forget()
        steps = [self._step(request) for request in requests]
        await asyncio.gather(*(self._forecast(group) for group in self._groups(steps)))
        return [self._response(step) for step in steps]

    def _forget(self) -> None:
        """Drops what Triton no longer knows: the newest stand last."""
        now = time.monotonic()
        while self.kept and now - next(iter(self.kept.values())).touched > self.idle_s:
            self.kept.popitem(last=False)

    def _step(self, request: Any) -> Step:
        step = Step(int(_input(request, "CORRID").reshape(-1)[0]), bool(_input(request, "END").any()))
        try:
            days = {name: _input(request, name)[0] for name in ("units", "prices", "events", "snap", "last_date")}
            before = None if _input(request, "START").any() else self._known(step.key)
            _check_days(self.limits, **days)
            step.series = _extended(self.limits, before, **days)
            step.ahead = {name: days[name][-self.limits.horizon :] for name in ("prices", "events", "snap")}
            step.missing = max(0, self.limits.min_days - len(step.series.units))
        except InvalidDay as error:
            step.failure = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        return step

    def _groups(self, steps: list[Step]) -> list[list[Step]]:
        """What can be asked for together: series of which as many days are known."""
        found: dict[int, list[Step]] = {}
        for step in steps:
            if step.failure is None and not step.missing:
                found.setdefault(len(step.series.units), []).append(step)
        size = self.limits.forecaster_batch
        return [group[at : at + size] for group in found.values() for at in range(0, len(group), size)]

    async def _forecast(self, group: list[Step]) -> None:
        """Asks the called model about the whole history of several series at once."""
        rows = [step.inputs() for step in group]
        inputs = [pb_utils.Tensor(name, np.stack([row[name] for row in rows])) for name in rows[0]]
        asked = pb_utils.InferenceRequest(
            model_name=self.forecaster,
            requested_output_names=list(FORECASTS),
            inputs=inputs,
            # The net may run on a GPU; the rows are cut apart here.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        answer = await asked.async_exec()
        for place, step in enumerate(group):
            if answer.has_error():
                # In the called model's own words: days that are bad were found before.
                step.failure = answer.error()
                continue
            arrays = {name: pb_utils.get_output_tensor_by_name(answer, name).as_numpy() for name in FORECASTS}
            step.forecasts = {name: array[place : place + 1] for name, array in arrays.items()}

    def _response(self, step: Step) -> Any:
        if step.failure is None:
            self._keep(step.key, step.series)
        if step.end:
            self.kept.pop(step.key, None)
        if step.failure is not None:
            return pb_utils.InferenceResponse(error=step.failure)
        forecasts = step.forecasts or self.nothing
        outputs = [pb_utils.Tensor(name, forecasts[name]) for name in FORECASTS]
        missing = np.array([[step.missing]], dtype=np.int32)
        return pb_utils.InferenceResponse([*outputs, pb_utils.Tensor("days_missing", missing)])

    def _known(self, key: int) -> Series:
        if key not in self.kept:
            # In Triton's own words for it, by which a client knows a sequence that is lost.
            raise InvalidDay(
                f"inference request for sequence {key} to model '{self.name}' must specify the START flag on the first "
                "request of the sequence: nothing is known of it here. Send its history again, with START."
            )
        return self.kept[key]

    def _keep(self, key: int, series: Series) -> None:
        self.kept[key] = replace(series, touched=time.monotonic())
        self.kept.move_to_end(key)
        while len(self.kept) > self.most:
            self.kept.popitem(last=False)


def _check_days(limits: Limits, units: Array, prices: Array, events: Array, snap: Array, last_date: Array) -> None:
    """What would be kept is good: it would spoil every answer after this one."""
    days = len(units)
    if days > limits.max_days:
        raise InvalidDay(f"units has {days} days, expected the days since the last request, {limits.max_days} at most.")
    for name, array in (("prices", prices), ("events", events), ("snap", snap)):
        if len(array) != days + limits.horizon:
            raise InvalidDay(
                f"{name} has {len(array)} days, expected {days + limits.horizon}: the {days} of units and the "
                f"{limits.horizon} to come. Send a value for each of them."
            )
    checked = (
        ("units", (units >= 0) & (units <= MOST), units, "units sold, 0 to 1e9; a gap is no 0"),
        ("prices", (prices > 0) & (prices <= MOST), prices, "a price above 0; say the last one again"),
        ("events", events <= 1, events, "0 or 1"),
        ("snap", snap <= 1, snap, "0 or 1"),
    )
    for name, good, array, expected in checked:
        if not good.all():
            place = tuple(int(index) for index in np.argwhere(~good)[0])
            where = "".join(f"[{index}]" for index in place)
            raise InvalidDay(
                f"{name}{where} is {array[place]}, expected {expected}. The series stands where it stood: mend the "
                "value, and send the request again."
            )


def _extended(
    limits: Limits,
    before: Series | None,
    units: Array,
    prices: Array,
    events: Array,
    snap: Array,
    last_date: Array,
) -> Series:
    """The series with the days that a request brought, the newest `context` of them."""
    days, last = len(units), _date(last_date[0])
    brought = Series(units, prices[:days], events[:days], snap[:days], last, 0.0)
    if before is None:
        _check_begun(days)
        return _newest(brought, limits.context)
    expected = before.last + days * ONE_DAY
    if last != expected:
        raise InvalidDay(
            f"last_date is {last}, expected {expected}: the series stands at {before.last}, and units has {days} "
            f"day(s). {_advice(before.last, last)}"
        )
    rows = {
        name: np.concatenate([getattr(before, name), getattr(brought, name)])
        for name in ("units", "prices", "events", "snap")
    }
    return _newest(replace(brought, **rows), limits.context)


def _check_begun(days: int) -> None:
    if not days:
        raise InvalidDay("units has no days, and the series begins here (START): send a day of its history at least.")


def _advice(stands: np.datetime64, last: np.datetime64) -> str:
    if last <= stands:
        return "That day was sent before, perhaps by another client under the same sequence id: give each its own."
    return "Send every day between them too, in one request or in several."


def _newest(series: Series, days: int) -> Series:
    rows = {name: getattr(series, name)[-days:].copy() for name in ("units", "prices", "events", "snap")}
    return replace(series, **rows)


def _date(element: bytes) -> np.datetime64:
    try:
        return np.datetime64(datetime.strptime(element.decode(), "%Y-%m-%d").date(), "D")
    except ValueError:
        raise InvalidDay(
            f"last_date is {element[:40]!r}, expected the date of the last day in units, such as 2016-04-24."
        ) from None


def _input(request: Any, name: str) -> Array:
    array: Array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array


def _text(parameters: dict[str, dict[str, str]], name: str) -> str:
    """A parameter out of config.pbtxt; a load error says that it is missing."""
    value = parameters.get(name, {}).get("string_value", "")
    if not value:
        raise ValueError(f"parameters {{ key: {name!r} }} is missing in config.pbtxt: see the head of this step.")
    return value


def _integer(parameters: dict[str, dict[str, str]], name: str) -> int:
    """A positive integer out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    if not value.isdigit() or int(value) < 1:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a positive whole number as string_value. "
            "Mend it in config.pbtxt."
        )
    return int(value)
