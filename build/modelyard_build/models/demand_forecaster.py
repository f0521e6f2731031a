"""`demand_forecaster`: a product's sales, prices and calendar in, the quantiles of the next 28 days' sales out.

`demand_forecaster_daily` is the same for a series that grows by a day at a time, its history kept by the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelyard_build import steps
from modelyard_build.datasets import m5, m5_windows
from modelyard_build.model import (
    Array,
    Arrays,
    Axis,
    DynamicBatching,
    Ensemble,
    Evaluation,
    Model,
    PythonModel,
    SequenceBatching,
    Step,
    Tensor,
)
from modelyard_build.nets import demand_inputs
from modelyard_build.nets.demand_inputs import CONTEXT, FUTURE_COLUMNS, HORIZON, PAST_COLUMNS

if TYPE_CHECKING:
    from torch import nn

MIN_DAYS, MAX_DAYS = HORIZON, 4096
KINDS = len(m5.EVENT_TYPES)
MAX_BATCH_SIZE, OPTIMUM_BATCH_SIZE = 64, 16
LEVELS = tuple(str(level) for level in m5_windows.LEVELS)


def series_tensors(sold: str, least: int, optimum: int) -> tuple[Tensor, ...]:
    """Days that were, and what is known of them and of those to come.

    Args:
        sold: the name of the units sold.
        least: days that a request brings at least.
        optimum: days that most requests bring.
    """
    days = Axis("days", least, MAX_DAYS, optimum)
    ahead = Axis("days_and_horizon", least + HORIZON, MAX_DAYS + HORIZON, optimum + HORIZON)
    return (
        Tensor(sold, "FP32", (days,)),
        Tensor("prices", "FP32", (ahead,)),
        Tensor("events", "UINT8", (ahead, KINDS)),
        Tensor("snap", "UINT8", (ahead,)),
        Tensor("last_date", "BYTES", (1,)),
    )


SERIES = series_tensors("history", MIN_DAYS, CONTEXT)
PAST = Tensor("past", "FP32", (CONTEXT, PAST_COLUMNS))
FUTURE = Tensor("future", "FP32", (HORIZON, FUTURE_COLUMNS))
QUANTILES = Tensor("quantiles", "FP32", (HORIZON, len(LEVELS)))
MEAN = Tensor("mean", "FP32", (HORIZON,))
DAYS_MISSING = Tensor("days_missing", "INT32", (1,))
BATCHING = DynamicBatching(
    max_queue_delay_microseconds=500, max_queue_size=1024, default_timeout_microseconds=10_000_000
)

# Days of history of the examples that try other lengths.
SHORT, LONG = MIN_DAYS, 1400
# Windows that the net is not trained with, and those of its training.
EXAMPLE_ORIGINS, CALIBRATION_ORIGINS = (1773, 1801), (1400, 1500, 1600, 1700)
# The series whose days the stateful form is tried with (it sells every day), the days that a request brings, and the
# requests; how many bring a single day, the first forecast and more; and how many bring more than a year.
DAILY_SERIES, DAYS_AT_ONCE, REQUESTS = "FOODS_3_090_CA_1", MIN_DAYS, 40
SINGLE_DAYS, LONG_REQUESTS = MIN_DAYS + 30, 4
REFERENCE_BATCH = 256


def load(files: Mapping[str, Path]) -> nn.Module:
    """The trained net."""
    from modelyard_build.nets.demand_forecaster import load_forecaster

    return load_forecaster()


def windows(files: Mapping[str, Path], origins: tuple[int, ...], batch: int, days: int = CONTEXT) -> Arrays:
    """So many requests of real series, drawn at random and always the same ones."""
    demand = m5.load(files)
    series, starts = m5_windows.held_out(demand, origins)
    enough = np.flatnonzero(demand.starts[series] + days <= starts)
    chosen = np.random.default_rng(days).choice(enough, batch)
    return m5_windows.requests(demand, series[chosen], starts[chosen], days)


def example_series(files: Mapping[str, Path], batch: int) -> Arrays:
    """Requests with as much history as the net reads."""
    return windows(files, EXAMPLE_ORIGINS, batch)


def other_lengths(files: Mapping[str, Path]) -> list[Arrays]:
    """The shortest history, and one that is cut."""
    return [windows(files, EXAMPLE_ORIGINS, 8, days) for days in (SHORT, LONG)]


def example_features(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """`past` and `future` of histories long and short."""
    parts = [windows(files, EXAMPLE_ORIGINS, batch, days) for days in (CONTEXT, SHORT, 4 * SHORT)]
    return _in_turn([demand_inputs.net_inputs(part) for part in parts], batch)


def calibration_features(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """The same of windows that no verification sees."""
    parts = [windows(files, CALIBRATION_ORIGINS, batch, days) for days in (CONTEXT, SHORT)]
    return _in_turn([demand_inputs.net_inputs(part) for part in parts], batch)


def _in_turn(parts: list[Arrays], batch: int) -> Arrays:
    """The first of each, then the second of each, up to so many."""
    return {
        name: np.stack([part[name] for part in parts], axis=1).reshape(-1, *parts[0][name].shape[1:])[:batch]
        for name in parts[0]
    }


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch answers."""
    return _answers(files, inputs, "float32")


def _answers(files: Mapping[str, Path], inputs: Arrays, dtype: str) -> Arrays:
    import torch

    net, features = load(files).to(getattr(torch, dtype)), demand_inputs.net_inputs(inputs)
    tensors = {name: torch.from_numpy(array).to(getattr(torch, dtype)) for name, array in features.items()}
    parts = []
    for start in range(0, len(inputs["history"]), REFERENCE_BATCH):
        with torch.inference_mode():
            answer = net(**{name: tensor[start : start + REFERENCE_BATCH] for name, tensor in tensors.items()})
        parts.append([output.numpy() for output in answer])
    quantiles, mean = (np.concatenate(outputs) for outputs in zip(*parts, strict=True))
    return {"quantiles": quantiles, "mean": mean}


def features_reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What the step must give."""
    return demand_inputs.net_inputs(inputs)


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, npt.NDArray[np.float32]]:
    """The test windows of every series that has a year and more of history, and what is known of each."""
    demand = m5.load(files)
    series, starts = m5_windows.held_out(demand, m5_windows.TEST_ORIGINS)
    long = demand.starts[series] + CONTEXT <= starts
    truth = m5_windows.truth_of(demand, series[long], starts[long])
    return m5_windows.requests(demand, series[long], starts[long], CONTEXT), truth


def details(outputs: Arrays, truth: Array) -> Mapping[str, Any]:
    """The figures of forecasts that anybody has, and how often no more was sold than each quantile."""
    plain = {
        name: {figure: round(value, 4) for figure, value in m5_windows.figures(answers, truth).items()}
        for name, answers in m5_windows.plain_forecasts(truth).items()
    }
    return {**plain, "sold at most": m5_windows.coverage(outputs, truth)}


def daily(files: Mapping[str, Path], requests: int, days: int) -> Arrays:
    """Consecutive requests of one series, each with so many days."""
    demand = m5.load(files)
    series = demand.names.index(DAILY_SERIES)
    origins = demand.starts[series] + days * np.arange(1, requests + 1)
    asked = m5_windows.requests(demand, np.full(requests, series), origins, days)
    return {"units": asked.pop("history"), **asked}


def example_days(files: Mapping[str, Path], batch: int) -> Arrays:
    """Four weeks in a request, so that each is answered with a forecast, also where it is the first."""
    return daily(files, batch, DAYS_AT_ONCE)


def other_days(files: Mapping[str, Path]) -> list[Arrays]:
    """A day at a time from nothing on, and more than a year at a time."""
    return [daily(files, SINGLE_DAYS, 1), daily(files, LONG_REQUESTS, CONTEXT + 1)]


def daily_reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch answers to the whole history at each request."""
    return _daily_answers(files, inputs, "float32")


def daily_exact(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """The same in float64."""
    return _daily_answers(files, inputs, "float64")


def _daily_answers(files: Mapping[str, Path], inputs: Arrays, dtype: str) -> Arrays:
    known = [_so_far(inputs, request) for request in range(len(inputs["units"]))]
    missing = [max(0, MIN_DAYS - series["history"].shape[1]) for series in known]
    nothing = {
        "quantiles": np.full((1, HORIZON, len(LEVELS)), np.nan, dtype),
        "mean": np.full((1, HORIZON), np.nan, dtype),
    }
    rows = [nothing if days else _answers(files, series, dtype) for series, days in zip(known, missing, strict=True)]
    answers = {name: np.concatenate([row[name] for row in rows]) for name in nothing}
    return {**answers, "days_missing": np.array(missing, dtype=np.int32)[:, None]}


def _so_far(inputs: Arrays, request: int) -> Arrays:
    """The stateless request with the days of a sequence's requests up to one of them."""
    days = inputs["units"].shape[1]
    joined = {
        name: np.concatenate([*inputs[name][: request + 1, :days], inputs[name][request, days:]])[None]
        for name in ("prices", "events", "snap")
    }
    history = inputs["units"][: request + 1].reshape(1, -1)
    return {"history": history, **joined, "last_date": inputs["last_date"][request : request + 1]}


FEATURES = PythonModel(
    name="demand_forecaster_features",
    summary=f"a series' history, prices and calendar in, what the net reads of {CONTEXT} days out",
    source=Path(steps.__path__[0]) / "demand_features.py",
    inputs=SERIES,
    outputs=(PAST, FUTURE),
    files={},
    parameters={
        "context": str(CONTEXT),
        "horizon": str(HORIZON),
        "min_days": str(MIN_DAYS),
        "max_days": str(MAX_DAYS),
    },
    assets=m5.ASSETS,
    examples=example_series,
    corners=other_lengths,
    reference=features_reference,
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=BATCHING,
)

NET = Model(
    name="demand_forecaster_net",
    summary=f"{CONTEXT} days and the {HORIZON} to come in, quantiles and mean of the units sold on each of these out",
    load=load,
    inputs=(PAST, FUTURE),
    outputs=(QUANTILES, MEAN),
    examples=example_features,
    calibration=calibration_features,
    assets=m5.ASSETS,
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=BATCHING,
    optimum_batch_size=OPTIMUM_BATCH_SIZE,
)

ENSEMBLE = Ensemble(
    name="demand_forecaster",
    summary=f"a product's sales, prices and calendar in, quantiles of the next {HORIZON} days' sales out",
    steps=tuple(
        Step(
            model=model.name,
            input_map={tensor.name: tensor.name for tensor in model.inputs},
            output_map={tensor.name: tensor.name for tensor in model.outputs},
        )
        for model in (FEATURES, NET)
    ),
    inputs=SERIES,
    outputs=(QUANTILES, MEAN),
    examples=example_series,
    reference=reference,
    assets=m5.ASSETS,
    max_batch_size=MAX_BATCH_SIZE,
    golden_items=4,
    evaluation=Evaluation(
        data=evaluation_data,
        figures=m5_windows.figures,
        details=details,
        data_sha256=m5.SALES.sha256,
        losses=frozenset({"RMSSE", "weighted RMSSE", "weighted quantile loss"}),
    ),
)

DAILY = PythonModel(
    name="demand_forecaster_daily",
    summary="the days since the last request in, the forecast of the whole series so far out; one sequence a series",
    source=Path(steps.__path__[0]) / "demand_series.py",
    inputs=series_tensors("units", 1, 1),
    outputs=(QUANTILES, MEAN, DAYS_MISSING),
    files={},
    parameters={
        "context": str(CONTEXT),
        "horizon": str(HORIZON),
        "levels": " ".join(LEVELS),
        "min_days": str(MIN_DAYS),
        "max_days": str(MAX_DAYS),
        "forecaster_batch": str(MAX_BATCH_SIZE),
    },
    calls={"forecaster": ENSEMBLE.name},
    assets=m5.ASSETS,
    examples=example_days,
    corners=other_days,
    reference=daily_reference,
    exact=daily_exact,
    verified_items=REQUESTS,
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=None,
    sequence_batching=SequenceBatching(
        # A day, and half of one for who is late.
        max_sequence_idle_microseconds=36 * 3600 * 1_000_000,
        max_candidate_sequences=8192,
    ),
)

MODELS = (FEATURES, NET, ENSEMBLE, DAILY)
