"""The library's logger and progress monitor; their base classes are its own, so they are made where it is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from modelyard_build.tensorrt_engine.phases import Phases

PROGRESS_INTERVAL_S = 0.2
# The CUDA runtime repeats its own error after each of ours, where there is no GPU.
_NOISE = "catchCudaError"


def make_logger(trt: Any) -> Any:
    """A logger that keeps the library's errors, as lines, in `errors`."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base class is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR and _NOISE not in message:
                self.errors.append(message.strip())

    return Logger()


def make_monitor(trt: Any, phases: Phases, send: Callable[..., None]) -> Any:
    """A monitor that sends the share of the build that is done, and the phase, now and then."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base class is known at run time only
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._next = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            phases.start(phase, parent, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            phases.step(phase, step)
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + PROGRESS_INTERVAL_S
                send(progress=phases.fraction(), phase=phase)
            return True

        def phase_finish(self, phase: str) -> None:
            phases.finish(phase)

    return Monitor()
