"""Triton's tensorrt backend: a plan, built by the TensorRT of the server and on its kind of GPU."""

from __future__ import annotations

from modelyard_build.tensorrt_engine.library import TENSORRT
from modelyard_build.tensorrt_engine.options import EngineOptions
from modelyard_build.tensorrt_engine.target import EngineTarget, candidates


class TensorRT(EngineTarget):
    """Plans for Triton's tensorrt backend.

    A plan loads only in the version of TensorRT that built it and on the compute capability it was built on: build it
    in the container of deploy/build, on the machine that will serve. `EngineOptions` loosens both, at a cost.
    """

    name = "tensorrt"
    distributions = ("tensorrt",)
    candidates = candidates("tensorrt", ".plan")

    def __init__(self, options: EngineOptions | None = None) -> None:
        super().__init__(TENSORRT, options or EngineOptions())


TARGET = TensorRT()
