"""The demand forecaster with a small net: the project's own configs and steps, and a net of one layer behind them."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelyard_build.model import Arrays
from modelyard_build.models.demand_forecaster import DAILY, ENSEMBLE, FEATURES, LEVELS, NET
from modelyard_build.nets.demand_inputs import CONTEXT, FUTURE_COLUMNS, HORIZON, PAST_COLUMNS, net_inputs
from modelyard_client.tasks import Calendar, Series

ROOT = Path(__file__).parents[2]
LAST_DATE = date(2016, 4, 24)
_ANSWERS = HORIZON * len(LEVELS)
_GENERATOR = np.random.default_rng(7)
_PAST = _GENERATOR.random((CONTEXT * PAST_COLUMNS, _ANSWERS)).astype(np.float32) / CONTEXT
_FUTURE = _GENERATOR.random((HORIZON * FUTURE_COLUMNS, _ANSWERS)).astype(np.float32) / HORIZON


def write_small_demand(repository: Path) -> Path:
    """Writes the four models; returns the repository."""
    for model in (FEATURES, NET, ENSEMBLE, DAILY):
        write_step(repository, model.name)
    for step in (FEATURES, DAILY):
        shutil.copyfile(step.source, repository / step.name / "1" / "model.py")
    onnx.save(_graph(), str(repository / NET.name / "1" / "model.onnx"))
    return repository


def write_step(repository: Path, name: str) -> Path:
    """A model's folder with all but its version, as it stands in the project; returns it."""
    folder = repository / name
    ignored = shutil.ignore_patterns("[0-9]*", "configs")
    shutil.copytree(ROOT / "model_repository" / name, folder, ignore=ignored)
    (folder / "1").mkdir()
    return folder


def expected(inputs: Arrays) -> npt.NDArray[np.float32]:
    """The small net's quantiles of requests: float32 [items, 28, 9]."""
    features = net_inputs(inputs)
    rows = [features[name].reshape(len(features[name]), -1) for name in ("past", "future")]
    answers: npt.NDArray[np.float32] = (rows[0] @ _PAST + rows[1] @ _FUTURE).reshape(-1, HORIZON, len(LEVELS))
    return answers


def request(days: int, seed: int = 1, last: date = LAST_DATE) -> Arrays:
    """A series of so many days, as the ensemble takes it: the days of a longer one of the same seed are the same."""
    first = LAST_DATE - timedelta(1000)
    generator = np.random.default_rng(seed)
    units = generator.poisson(3, 1200).astype(np.float32)
    prices = (generator.integers(3, 6, 1200) + 0.97).astype(np.float32)
    events = (generator.random((1200, 4)) < 0.03).astype(np.uint8)
    snap = (generator.random(1200) < 0.3).astype(np.uint8)
    end = (last - first).days + 1
    known = slice(end - days, end + HORIZON)
    return {
        "history": units[None, end - days : end],
        "prices": prices[None, known],
        "events": events[None, known],
        "snap": snap[None, known],
        "last_date": np.array([[last.isoformat().encode()]], dtype=np.object_),
    }


def day(days: int, seed: int = 1, last: date = LAST_DATE) -> Arrays:
    """The same as the stateful form takes it."""
    inputs = request(days, seed, last)
    return {"units": inputs.pop("history"), **inputs}


def series(days: int, seed: int = 1, last: date = LAST_DATE) -> Series:
    """The same as the tasks take it: events and SNAP days by their dates."""
    inputs, whole = request(days, seed, last), request(1028, seed, LAST_DATE + timedelta(HORIZON))
    dates = [LAST_DATE + timedelta(number) for number in range(1 - 1000, 2 * HORIZON + 1)]
    kinds = np.array(["Sporting", "Cultural", "National", "Religious"])
    flags = zip(dates, whole["events"][0].astype(bool), strict=True)
    events = {date: [str(kind) for kind in kinds[flag]] for date, flag in flags if flag.any()}
    snap = {date for date, flag in zip(dates, whole["snap"][0], strict=True) if flag}
    return Series(inputs["history"][0], inputs["prices"][0], last, Calendar(events, snap))


def _graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Flatten", ["past"], ["days"]),
        helper.make_node("Flatten", ["future"], ["coming"]),
        helper.make_node("MatMul", ["days", "past_weights"], ["of_days"]),
        helper.make_node("MatMul", ["coming", "future_weights"], ["of_coming"]),
        helper.make_node("Add", ["of_days", "of_coming"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["quantiles"]),
        helper.make_node("ReduceMean", ["quantiles", "last"], ["mean"], keepdims=0),
    ]
    constants = {
        "past_weights": _PAST,
        "future_weights": _FUTURE,
        "shape": np.array([0, HORIZON, len(LEVELS)], np.int64),
        "last": np.array([2], np.int64),
    }
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "small_demand",
        [
            helper.make_tensor_value_info("past", floats, ["batch", CONTEXT, PAST_COLUMNS]),
            helper.make_tensor_value_info("future", floats, ["batch", HORIZON, FUTURE_COLUMNS]),
        ],
        [
            helper.make_tensor_value_info("quantiles", floats, ["batch", HORIZON, len(LEVELS)]),
            helper.make_tensor_value_info("mean", floats, ["batch", HORIZON]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # "shape" keeps the first dimension by its 0, and the second and third are given: one row for each item.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
