"""A system as its users meet it: what it serves, what its net does in process, and what stands around the net."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from measure.intervals import Interval, ratio_interval
from measure.overhead import Load, cores_left
from measure.repositories import linked, newest, stated_config
from measure.served import Served, Tensors, own_configs
from modelyard_build.model import Ensemble, Model
from modelyard_build.models import find
from modelyard_build.repository import config, layout
from modelyard_build.repository.hardware import hardware
from modelyard_build.repository.model_config import model_config_pb2
from modelyard_build.targets import here, target_of
from modelyard_build.targets.target import Candidate, Run
from modelyard_build.wanted import serves
from modelyard_server.errors import ServerError

LIMIT = 0.15
# Beside a net that takes less for a row any step takes much.
LEAST_NET_MS = 2.0


@dataclass(frozen=True)
class Parts:
    """What an ensemble is made of.

    Attributes:
        steps: the models' names, in order.
        net: the PyTorch model among them.
    """

    ensemble: Ensemble
    steps: tuple[str, ...]
    net: Model


def parts_of(name: str) -> Parts:
    """Of a declared ensemble with one PyTorch model."""
    ensemble = find(name)
    assert isinstance(ensemble, Ensemble)  # the systems are
    steps = tuple(step.model for step in ensemble.steps)
    (net,) = [found for found in map(find, steps) if isinstance(found, Model)]
    return Parts(ensemble, steps, net)


def served_candidate(repository: Path, net: Model, config_name: str) -> Candidate:
    """What a server with these configs runs.

    Raises:
        ServerError: a config that no candidate fits.
    """
    own = repository / net.name / layout.CONFIGS / f"{config_name}.pbtxt"
    path = own if own.is_file() else repository / net.name / layout.FILENAME
    stated = config.read(path)
    found = [candidate for candidate in here() if serves(stated, candidate)]
    if not found:
        raise ServerError(f"{path} serves nothing that the build makes: there is nothing to compare it with")
    return found[0]


def without_batching(config: model_config_pb2.ModelConfig) -> None:
    """Takes dynamic_batching away."""
    config.ClearField("dynamic_batching")


def change_configs(
    repository: Path,
    models: Sequence[str],
    config_name: str,
    folder: Path,
    change: Callable[[model_config_pb2.ModelConfig], None],
) -> None:
    """Replaces the links of models by folders whose configs are changed."""
    for name in models:
        source, own = repository / name, folder / name
        own.unlink()
        own.mkdir()
        stated = stated_config(repository, name, config_name)
        change(stated)
        (own / layout.FILENAME).write_text(text_format.MessageToString(stated))
        for path in source.iterdir():
            if path.name not in (layout.FILENAME, layout.CONFIGS):
                (own / path.name).symlink_to(path.resolve())


def served_twice(
    parts: Parts,
    repository: Path,
    change: Callable[[model_config_pb2.ModelConfig], None],
    folder: Path,
    stack: ExitStack,
) -> tuple[Served, Served]:
    """An ensemble behind two servers: with its configs as they are, and with those of its steps changed.

    Raises:
        ServerError: something is not built, or a server does not start.
    """
    name, models = parts.ensemble.name, (parts.ensemble.name, *parts.steps)
    own, changed = (linked(repository, models, folder / kind) for kind in ("own", "changed"))
    change_configs(repository, parts.steps, hardware().name, changed, change)
    return stack.enter_context(Served(own, name, own_configs(own))), stack.enter_context(Served(changed, name))


def alike(rows: Sequence[Tensors], steps: Sequence[Tensors], net: Model) -> tuple[list[Tensors], list[Tensors]]:
    """The items that the net sees in one shape: in its optimum where there are such, else in the most frequent.

    Args:
        rows: what a request holds.
        steps: what the net is given of it.
        net: the declaration.
    """
    optimum = tuple(tuple(getattr(dim, "opt", dim) for dim in tensor.dims) for tensor in net.inputs)
    shapes = [tuple(step[tensor.name].shape[1:] for tensor in net.inputs) for step in steps]
    chosen = optimum if optimum in shapes else Counter(shapes).most_common(1)[0][0]
    kept = [number for number, shape in enumerate(shapes) if shape == chosen]
    return [rows[number] for number in kept], [steps[number] for number in kept]


class InProcess:
    """The net's artefact in this process, as many as Triton has instances, each driven by a thread of its own."""

    def __init__(self, candidate: Candidate, repository: Path, net: Model, items: Sequence[Tensors]) -> None:
        self._runs = target_of(candidate).instances(candidate, newest(repository, net.name), net)
        self._pool = ThreadPoolExecutor(len(self._runs))
        chosen = [items[number % len(items)] for number in range(net.max_batch_size)]
        self._batch = {name: np.concatenate([item[name] for item in chosen]) for name in chosen[0]}

    def throughput(self, seconds: float) -> float:
        """Items a second, in full batches."""
        for run in self._runs:
            run(self._batch)
        return sum(self._pool.map(lambda run: self._rate(run, seconds), self._runs))

    def _rate(self, run: Run, seconds: float) -> float:
        size, count, start = len(next(iter(self._batch.values()))), 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            run(self._batch)
            count += size
        return count / (time.perf_counter() - start)


@dataclass(frozen=True)
class Turn:
    """One round.

    Attributes:
        full: served, at saturation.
        unbatched: the same without dynamic batching.
        usual: served, at the operating point.
        own: items a second in process.
    """

    full: Load
    unbatched: Load
    usual: Load
    own: float


@dataclass(frozen=True)
class Report:
    """What was measured of one system.

    Attributes:
        system: its name.
        candidate: what its net is served as.
        served: items a second at saturation, the mean.
        ratio: of served to in process.
        less_load: the same, with the load generator's share of the cores granted.
        batching: of served with dynamic batching to served without.
        batch: the mean batch that the net ran at saturation.
        p50_ms: at the operating point.
        p99_ms: likewise.
        net_ms: the net's time a row, at saturation.
        around: each other step's time a row, as a share of it.
    """

    system: str
    candidate: str
    served: float
    ratio: Interval
    less_load: Interval
    batching: Interval
    batch: float
    p50_ms: float
    p99_ms: float
    net_ms: float
    around: dict[str, float]

    @property
    def missed(self) -> bool:
        """Whether a step takes too much of a net's time that is worth to be compared with."""
        return self.net_ms >= LEAST_NET_MS and any(value > LIMIT for value in self.around.values())


def report(parts: Parts, candidate: str, turns: Sequence[Turn], cores: int) -> Report:
    """The figures of all rounds."""
    net = parts.net.name
    rates = [turn.full.client.throughput for turn in turns]
    ratios = [rate / turn.own for rate, turn in zip(rates, turns, strict=True)]
    latencies = [latency for turn in turns for latency in turn.usual.client.latencies_s]
    p50, p99 = (1000 * float(value) for value in np.percentile(latencies, (50, 99)))
    return Report(
        system=parts.ensemble.name,
        candidate=candidate,
        served=float(np.mean(rates)),
        ratio=ratio_interval(ratios),
        less_load=ratio_interval(
            [ratio / cores_left(turn.full, cores) for ratio, turn in zip(ratios, turns, strict=True)]
        ),
        batching=ratio_interval(
            [rate / turn.unbatched.client.throughput for rate, turn in zip(rates, turns, strict=True)]
        ),
        batch=float(np.mean([turn.full.batch(net) for turn in turns])),
        p50_ms=p50,
        p99_ms=p99,
        net_ms=1000 * _row_seconds(net, [turn.full for turn in turns]),
        around={step: share(step, net, [turn.full for turn in turns]) for step in parts.steps if step != net},
    )


def share(step: str, net: str, loads: Sequence[Load]) -> float:
    """A step's time a row over the net's: of the time in which each computes, queues apart."""
    return _row_seconds(step, loads) / _row_seconds(net, loads)


def _row_seconds(model: str, loads: Sequence[Load]) -> float:
    return sum(load.work[model].seconds for load in loads) / sum(load.work[model].inferences for load in loads)


def _judged(found: Report, value: float) -> str:
    if found.net_ms < LEAST_NET_MS:
        return f"{value:.1%} of the net's {found.net_ms:.2f} ms a row (not judged: below {LEAST_NET_MS:g} ms)"
    return f"{value:.1%} of the net's time ({'held' if value <= LIMIT else 'missed'}: at most {LIMIT:.0%})"


def show(found: Report) -> str:
    """As people read it."""
    around = ", ".join(f"{step} {_judged(found, value)}" for step, value in found.around.items())
    return "\n".join(
        [
            f"{found.system} ({found.candidate}): {found.served:.1f} items/s served, mean batch {found.batch:.1f}",
            f"  served / in process        {found.ratio}   less load {found.less_load}",
            f"  dynamic batching on / off  {found.batching}",
            f"  at the operating point     p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms",
            f"  around the net             {around}",
        ]
    )
