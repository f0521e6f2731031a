"""The systems that keep state: what a sequence of each is asked, and the step in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from measure.called_models import callable_here
from measure.python_steps import answers, initialised
from measure.repositories import newest
from measure.served import Tensors
from measure.system import parts_of, served_candidate
from modelyard_build.datasets import m5, m5_windows, spoken_inputs
from modelyard_build.models import demand_forecaster
from modelyard_build.nets.demand_inputs import CONTEXT
from modelyard_build.targets import target_of

# Requests of a sequence after its first; then it begins again.
REQUESTS = 200


@dataclass(frozen=True)
class Sequenced:
    """A step that keeps state.

    Attributes:
        requests: `requests(files)`: those of one sequence in order; the first begins it.
        step: `step(repository, config_name)`: its `TritonPythonModel`, with what it calls, in this process.
    """

    requests: Callable[[Mapping[str, Path]], list[Tensors]]
    step: Callable[[Path, str], Any]


def days(files: Mapping[str, Path]) -> list[Tensors]:
    """A series' history of as many days as the net reads, and then a day at a time."""
    demand = m5.load(files)
    series = demand.names.index(demand_forecaster.DAILY_SERIES)
    begun = demand.starts[series] + CONTEXT

    def request(origin: int, brought: int) -> Tensors:
        asked = m5_windows.requests(demand, np.array([series]), np.array([origin]), brought)
        return {"units": asked.pop("history"), **asked}

    return [request(begun, CONTEXT), *(request(begun + day, 1) for day in range(1, REQUESTS + 1))]


def daily_step(repository: Path, config_name: str) -> Any:
    """The step, with the forecaster's features and net: one instance of each, called one after the other."""
    step = initialised(repository, demand_forecaster.DAILY.name, config_name)
    features = initialised(repository, demand_forecaster.FEATURES.name, config_name)
    net = parts_of(demand_forecaster.ENSEMBLE.name).net
    candidate = served_candidate(repository, net, config_name)
    (run,) = target_of(candidate).instances(candidate, newest(repository, net.name), replace(net, instance_count=1))
    callable_here({demand_forecaster.ENSEMBLE.name: lambda inputs: run(answers(features, [inputs])[0])})
    return step


def chunks(files: Mapping[str, Path]) -> list[Tensors]:
    """A voice, 32 ms at a time."""
    heard = spoken_inputs.example_chunks(files, REQUESTS + 1)["audio"]
    return [{"audio": heard[at : at + 1]} for at in range(len(heard))]


def voice_step(repository: Path, config_name: str) -> Any:
    """The step, which calls nothing."""
    return initialised(repository, "speech_vad", config_name)


SYSTEMS = {"demand_forecaster_daily": Sequenced(days, daily_step), "speech_vad": Sequenced(chunks, voice_step)}
