"""Candidates of one model measured beside each other: interleaved in one run, each against PyTorch in the same round.

Timings of a busy machine drift; ratios within one round do not. A round runs every candidate for a moment, in another
order each time, and the interval of the mean ratio says how far to trust it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from torch import nn

from modelyard_build import verify
from modelyard_build.artefacts import Made
from modelyard_build.export import axes_of
from modelyard_build.model import Arrays, Model
from modelyard_build.progress import Progress
from modelyard_build.repository.hardware import Hardware
from modelyard_build.targets import target_of
from modelyard_build.targets.target import Run

PYTORCH = "eager PyTorch"
ROUNDS = 10
# One burst of a round: long against the clock's grain and the caches that the one before left.
BURST_S = 0.25
LATENCY_CALLS = 4
CONFIDENCE = 0.95


@dataclass
class _Series:
    """What one candidate did in each round."""

    run: Run
    calls: int
    throughput: list[float]
    latency: list[float]


def measure(
    model: Model,
    module: nn.Module,
    made: Sequence[Made],
    files: Mapping[str, Path],
    progress: Progress,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Measures every candidate that runs here, in this process, with every core.

    Returns:
        The sizes measured at, and for PyTorch and each candidate: `load_s`, `latency_ms` (median of one item),
        `throughput` (median items/s at the optimum batch), `ratio` to PyTorch's throughput with the 95 % interval of
        its mean.
    """
    sizes = {axis.name: axis.opt for axis in axes_of(model)}
    batch = min(model.optimum_batch_size, model.max_batch_size)
    many, one = model.examples(files, batch, sizes), model.examples(files, 1, sizes)
    runs: dict[str, Run] = {PYTORCH: lambda inputs: verify.run_module(model, module, inputs)}
    load_s = {PYTORCH: 0.0}
    for item in made:
        candidate = item.wanted.candidate
        started = time.perf_counter()
        runs[item.name] = target_of(candidate).runner(candidate, item.folder, model)
        load_s[item.name] = time.perf_counter() - started
    with progress.step(model.name, f"measure {len(made)} candidates"):
        series = {name: _series(run, many) for name, run in runs.items()}
        for number in range(rounds):
            _round(list(series.values()), number, many, one)
    return {
        "batch": batch,
        "sizes": sizes,
        "rounds": rounds,
        "candidates": {name: _summary(found, series[PYTORCH], load_s[name]) for name, found in series.items()},
    }


def _series(run: Run, inputs: Arrays) -> _Series:
    """Warm, and with as many calls to a burst as fill it."""
    run(inputs)
    started = time.perf_counter()
    run(inputs)
    return _Series(run, max(1, round(BURST_S / (time.perf_counter() - started))), [], [])


def _round(series: Sequence[_Series], number: int, many: Arrays, one: Arrays) -> None:
    batch = len(next(iter(many.values())))
    first = number % len(series)
    for item in [*series[first:], *series[:first]]:
        # The one before left its threads and its caches.
        item.run(many)
        item.throughput.append(batch * item.calls / _timed(item.run, many, item.calls))
        item.run(one)
        item.latency.append(_timed(item.run, one, LATENCY_CALLS) / LATENCY_CALLS)


def _timed(run: Run, inputs: Arrays, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        run(inputs)
    return time.perf_counter() - started


def _summary(found: _Series, pytorch: _Series, load_s: float) -> dict[str, Any]:
    ratios = np.array(found.throughput) / np.array(pytorch.throughput)
    low, mean, high = ratio_interval(ratios)
    return {
        "load_s": round(load_s, 3),
        "latency_ms": round(1e3 * float(np.median(found.latency)), 3),
        "throughput": round(float(np.median(found.throughput)), 2),
        "ratio": [round(value, 3) for value in (mean, low, high)],
    }


def ratio_interval(ratios: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """The geometric mean of ratios and its confidence interval (Student's t on their logarithms): low, mean, high."""
    logs = np.log(ratios)
    mean, error = float(logs.mean()), float(stats.sem(logs))
    margin = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1))
    return float(np.exp(mean - margin)), float(np.exp(mean)), float(np.exp(mean + margin))


def describe(hardware: Hardware) -> dict[str, Any]:
    """The machine, as the measurement remembers it."""
    return {"hardware": hardware.name, "cores": hardware.cores, "gpu": hardware.gpu.name if hardware.gpu else ""}
