"""What the tasks on demand do without a server."""

from __future__ import annotations

from datetime import date, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.tasks.daily_demand import Standing
from modelyard_client.tasks.demand import (
    Calendar,
    DemandModel,
    Series,
    checked_series,
    demand_model,
    later,
    named,
    tensors,
)

MODEL = DemandModel("m", (0.1, 0.5, 0.9), horizon=2, context=3)
SUNDAY = date(2016, 4, 24)
# For what a type checker would refuse.
unchecked: Any = Series


def specs(*names: str) -> tuple[TensorSpec, ...]:
    """Tensors of these names; quantiles of 2 days and 3 levels."""
    return tuple(TensorSpec(name, "FP32", (-1, 2, 3) if name == "quantiles" else (-1, -1)) for name in names)


def config(**parameters: str) -> Any:
    """A model's configuration with these parameters."""
    return SimpleNamespace(parameters={name: SimpleNamespace(string_value=value) for name, value in parameters.items()})


METADATA = ModelMetadata(
    "m", ("1",), "ensemble", specs("history", "prices", "events", "snap", "last_date"), specs("quantiles", "mean")
)


def test_a_calendar_is_flags_of_days() -> None:
    """Several kinds of events on a day; days outside of the span are of no matter; a datetime is a day."""
    calendar = Calendar({SUNDAY: ["Cultural", "Religious"], date(2016, 4, 30): "National"}, {date(2016, 4, 25)})
    columns = calendar.columns(date(2016, 4, 23), 4)
    assert columns["events"].tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert columns["snap"].tolist() == [0, 0, 1, 0]
    assert {array.dtype for array in columns.values()} == {np.dtype(np.uint8)}


def test_an_event_of_another_kind() -> None:
    """The day is named, and the kinds that there are."""
    with pytest.raises(InvalidInput, match=r"event on 2016-04-24 is \['Easter'\]; the model knows Sporting, Cultural"):
        Calendar({SUNDAY: "Easter"}).columns(SUNDAY, 1)


def test_only_what_the_model_uses_is_sent() -> None:
    """The newest days of history, with their prices and calendar and those of the days to come."""
    calendar = Calendar(snap=[date(2016, 4, 22), date(2016, 4, 26)])
    series = Series([9, 9, 1, 2, 3], [8, 8, 4, 5, 6, 7, 7], datetime(2016, 4, 24, 18), calendar)
    inputs = tensors(MODEL, series, "history", "")
    assert inputs["history"].tolist() == [[1, 2, 3]]
    assert inputs["prices"].tolist() == [[4, 5, 6, 7, 7]]
    assert inputs["snap"].tolist() == [[1, 0, 0, 0, 1]]
    assert inputs["events"].shape == (1, 5, 4)
    assert inputs["last_date"].tolist() == [[b"2016-04-24"]]
    assert inputs["history"].dtype == inputs["prices"].dtype == np.float32


def test_one_price_for_all_days() -> None:
    """A number stands for every day."""
    assert tensors(MODEL, Series([1, 2], 3.5, SUNDAY), "history", "")["prices"].tolist() == [[3.5] * 4]


@pytest.mark.parametrize(
    ("series", "sentence"),
    [
        (unchecked([1, 2], [1, 1], SUNDAY), r"s\.prices has 2 days, expected 4: .*say the last one again"),
        (unchecked([1, 2], "cheap", SUNDAY), r"s\.prices is no list of numbers"),
        (unchecked(["a"], 1, SUNDAY), r"s\.history is no list of numbers"),
        (unchecked([[1, 2]], 1, SUNDAY), r"s\.history has the shape \[1, 2\]"),
        (unchecked([1, 2], 1, "2016-04-24"), r"s\.last_date is a str; pass a datetime\.date"),
    ],
)
def test_what_is_no_series_is_refused_before_anything_is_sent(series: Any, sentence: str) -> None:
    """The part is named, and what to pass."""
    with pytest.raises(InvalidInput, match=sentence):
        tensors(MODEL, series, "history", "s.")


@pytest.mark.parametrize(
    ("series", "sentence"),
    [
        ([], "series is empty"),
        (Series([1], 1, SUNDAY), r"series is a single Series; pass a list of them: \[series\]"),
        (None, "series is a single NoneType"),
        ([Series([1], 1, SUNDAY), [1, 2]], r"series\[1\] is a list; every one is a Series"),
    ],
)
def test_what_is_no_list_of_series(series: Any, sentence: str) -> None:
    """The position is named."""
    with pytest.raises(InvalidInput, match=sentence):
        checked_series(series)


def test_the_servers_refusal_gets_the_series_place() -> None:
    """To the server each is the first of its request; what was found here has its name."""
    refused = InvalidInput("history[3] of series 0 is nan", url="grpc://a:1", model="m", request_id="r")
    assert str(named(refused, 4)) == "series[4]: history[3] of series 0 is nan"
    own = InvalidInput("series[1].history is no list")
    assert named(own, 4) is own


def test_the_model_says_levels_and_context() -> None:
    """Out of its parameters; the days ahead out of its output."""
    found = demand_model(METADATA, config(levels="0.1 0.5 0.9", context="3"), "history")
    assert found == MODEL


@pytest.mark.parametrize("parameters", [{}, {"levels": "0.1 0.5", "context": "3"}, {"levels": "a b c", "context": "3"}])
def test_a_model_without_levels(parameters: dict[str, str]) -> None:
    """The sentence says which parameters it needs, and what it has."""
    with pytest.raises(IncompatibleModel, match="this task needs levels, 3 numbers between spaces, and context"):
        demand_model(METADATA, config(**parameters), "history")


def test_another_kind_of_model() -> None:
    """What it lacks is named."""
    metadata = ModelMetadata("m", ("1",), "ensemble", specs("text"), specs("mean"))
    with pytest.raises(IncompatibleModel, match="model 'm' has no history, prices, events, snap, last_date, quantiles"):
        demand_model(metadata, config(), "history")


def test_the_days_after_a_series() -> None:
    """They end as many days later; no days more is the same day."""
    series = Series([1, 2, 3], 2.0, SUNDAY)
    assert later(series, [4, 5], 2.0).last_date == date(2016, 4, 26)
    standing = Standing(series)
    standing.model = MODEL
    inputs = standing.asked(standing.again([9, 9]))
    assert inputs["units"].shape == (1, 0)
    assert inputs["prices"].tolist() == [[9, 9]]
    assert inputs["last_date"].tolist() == [[b"2016-04-24"]]
    assert standing.last_price() == 2.0


def test_a_series_that_has_not_begun() -> None:
    """Said before anything is sent."""
    with pytest.raises(InvalidInput, match="use it in a `with`"):
        Standing(Series([1], 1, SUNDAY)).asked(Series([1], 1, SUNDAY))
