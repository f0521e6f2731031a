"""The encoder in this process, with the very sessions that the backend opens: what serving is measured against."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from modelyard_server.backend_support.instance import Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backends.onnxruntime.loading import load

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Speed:
    """Of a run of rounds in this process.

    Attributes:
        rows: A second.
        cpu_seconds: Of the cores, a row.
    """

    rows: float
    cpu_seconds: float


class InProcess:
    """As many sessions as Triton has instances, each driven by a thread of its own.

    Args:
        config: The configuration that Triton serves with, from which the session options follow.
        version_folder: Where the artefact is.
    """

    def __init__(self, config: ModelConfig, version_folder: Path) -> None:
        self.outputs = [tensor.name for tensor in config.outputs]
        self._sessions = [load(config, version_folder, Placement("CPU")).runtime for _ in range(config.instances())]
        self._pool = ThreadPoolExecutor(len(self._sessions))

    def answer(self, inputs: Tensors) -> npt.NDArray[Any]:
        """The first output."""
        answer: npt.NDArray[Any] = self._sessions[0].run(self.outputs, inputs)[0]
        return answer

    def throughput(self, inputs: Tensors, seconds: float) -> Speed:
        """All sessions at work."""
        self.answer(inputs)
        batch, cpu = next(iter(inputs.values())).shape[0], time.process_time()
        runs = [self._pool.submit(self._run, session, inputs, seconds) for session in self._sessions]
        done = [run.result() for run in runs]
        cpu = time.process_time() - cpu
        return Speed(
            rows=batch * sum(count / elapsed for count, elapsed in done),
            cpu_seconds=cpu / (batch * sum(count for count, _ in done)),
        )

    def latency(self, inputs: Tensors, seconds: float) -> float:
        """The median time of one run, in seconds, with one session at work."""
        times, until = [], time.perf_counter() + seconds
        while (start := time.perf_counter()) < until:
            self.answer(inputs)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def _run(self, session: Any, inputs: Tensors, seconds: float) -> tuple[int, float]:
        """Whole runs, and the time that they took."""
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            session.run(self.outputs, inputs)
            count += 1
        return count, time.perf_counter() - start
