"""Candidates of one model measured beside each other: interleaved in one run, each against PyTorch in the same round.

Timings of a busy machine drift; ratios within one round do not. A round runs every candidate for a moment, in another
order each time, and the interval of the mean ratio says how far to trust it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import nn

from modelyard_build import verify
from modelyard_build.artefacts import Made
from modelyard_build.export import axes_of
from modelyard_build.model import Arrays, Model
from modelyard_build.progress import Progress
from modelyard_build.repository.hardware import Hardware, hardware
from modelyard_build.targets import target_of
from modelyard_build.targets.target import Run, of_items

# What is measured against: PyTorch, or for an ONNX file its own graph, node by node, without a runtime's rewriting.
PYTORCH = "eager PyTorch"
PLAIN_ONNX = "plain ONNX"
ROUNDS = 10
# One burst of a round: long against the clock's grain and the caches that the one before left.
BURST_S = 0.25
LATENCY_CALLS = 4
CONFIDENCE = 0.95


@dataclass
class _Series:
    """What one candidate did in each round.

    Attributes:
        runs: one for each instance that serves.
        calls: of each of them in a burst.
        throughput: items/s of the bursts.
        latency: seconds for one item.
        batches: seconds of every run of a burst.
    """

    runs: Sequence[Run]
    calls: int
    throughput: list[float]
    latency: list[float]
    batches: list[float] = field(default_factory=list)


def measure(
    model: Model,
    module: nn.Module,
    made: Sequence[Made],
    files: Mapping[str, Path],
    progress: Progress,
    rounds: int = ROUNDS,
    beside: Mapping[str, Sequence[Run]] | None = None,
) -> dict[str, Any]:
    """Measures every candidate that runs here, in this process, with as many callers as it has instances.

    Args:
        model: the declaration.
        module: its PyTorch module.
        made: the candidates.
        files: the fetched assets, by name.
        progress: shows the work.
        rounds: how often each is measured.
        beside: what else is measured in the same rounds, by name: something to call for each instance.

    Returns:
        The sizes measured at, what PyTorch computed on, and for the baseline and each candidate: `load_s`,
        `latency_ms` (median of one item, with nothing beside it), `throughput` (median items/s at the optimum batch,
        every instance at work), `batch_ms` (median and 99th percentile of a batch then), `ratio` to the baseline's
        throughput (with as many callers) with the 95 % interval of its mean.
    """
    sizes = {axis.name: axis.opt for axis in axes_of(model)}
    batch = max(1, min(model.optimum_batch_size, model.max_batch_size))
    many, one = model.examples(files, batch, sizes), model.examples(files, 1, sizes)
    device = pytorch_device()
    baseline = PLAIN_ONNX if model.graph else PYTORCH
    plain = _plain_onnx(model, files) if model.graph else _eager(model, module, device)
    runs: dict[str, Sequence[Run]] = {baseline: [plain] * model.instance_count}
    runs |= beside or {}
    load_s = dict.fromkeys(runs, 0.0)
    for item in made:
        candidate = item.wanted.candidate
        started = time.perf_counter()
        loaded = target_of(candidate).instances(candidate, item.folder, model)
        runs[item.name] = [of_items(model, run) for run in loaded]
        load_s[item.name] = (time.perf_counter() - started) / model.instance_count
    with progress.step(model.name, f"measure {len(made)} candidates"), ThreadPoolExecutor(model.instance_count) as pool:
        series = {name: _series(found, many) for name, found in runs.items()}
        for number in range(rounds):
            _round(list(series.values()), number, many, one, pool)
    return {
        "batch": batch,
        "sizes": sizes,
        "instances": model.instance_count,
        "pytorch": "" if model.graph else device,
        "rounds": rounds,
        "candidates": {name: _summary(found, series[baseline], load_s[name]) for name, found in series.items()},
    }


def pytorch_device() -> str:
    """Where eager PyTorch is measured: on the GPU that is to be used, where this PyTorch can; "cuda" or "cpu"."""
    return "cuda" if hardware().gpu and torch.cuda.is_available() else "cpu"


def _eager(model: Model, module: nn.Module, device: str) -> Run:
    """PyTorch itself; inputs and answers are in the CPU's memory, as those of every candidate."""
    # The build's own module stays where it is.
    moved = module if device == "cpu" else copy.deepcopy(module).to(device)
    return lambda inputs: verify.run_module(model, moved, inputs)


def _plain_onnx(model: Model, files: Mapping[str, Path]) -> Run:
    from modelyard_build import given_graph
    from modelyard_build.precision.sessions import Session

    return of_items(model, Session(given_graph.take(model, files[model.graph])))


def _series(runs: Sequence[Run], inputs: Arrays) -> _Series:
    """Warm, and with as many calls to a burst as fill it."""
    for run in runs:
        run(inputs)
    (taken,) = _timed(runs[0], inputs, 1)
    return _Series(runs, max(1, round(BURST_S / taken)), [], [])


def _round(series: Sequence[_Series], number: int, many: Arrays, one: Arrays, pool: Executor) -> None:
    batch = len(next(iter(many.values())))
    first = number % len(series)
    for item in [*series[first:], *series[:first]]:
        # The one before left its threads and its caches.
        item.runs[0](many)
        started = time.perf_counter()
        timed = list(pool.map(lambda run, calls=item.calls: _timed(run, many, calls), item.runs))
        item.throughput.append(batch * item.calls * len(item.runs) / (time.perf_counter() - started))
        item.batches += [taken for of_one in timed for taken in of_one]
        item.runs[0](one)
        item.latency.append(sum(_timed(item.runs[0], one, LATENCY_CALLS)) / LATENCY_CALLS)


def _timed(run: Run, inputs: Arrays, calls: int) -> list[float]:
    """The seconds of each call."""
    times = [time.perf_counter()]
    for _ in range(calls):
        run(inputs)
        times.append(time.perf_counter())
    return [end - start for start, end in pairwise(times)]


def _summary(found: _Series, baseline: _Series, load_s: float) -> dict[str, Any]:
    ratios = np.array(found.throughput) / np.array(baseline.throughput)
    low, mean, high = ratio_interval(ratios)
    return {
        "load_s": round(load_s, 3),
        "latency_ms": round(1e3 * float(np.median(found.latency)), 3),
        "throughput": round(float(np.median(found.throughput)), 2),
        "batch_ms": [round(1e3 * float(value), 3) for value in np.percentile(found.batches, (50, 99))],
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
