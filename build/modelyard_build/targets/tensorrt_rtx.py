"""TensorRT-RTX: an engine that is compiled ahead of time on any CPU, and finished on the GPU when it loads."""

from __future__ import annotations

from modelyard_build.tensorrt_engine.library import TENSORRT_RTX
from modelyard_build.tensorrt_engine.options import EngineOptions
from modelyard_build.tensorrt_engine.target import EngineTarget, candidates


class TensorRTRTX(EngineTarget):
    """Engines for RTX GPUs: one file for compute capability 8.0, 8.6, 8.9, 12.0 and later.

    They load in the release of TensorRT-RTX that built them and in no other. Triton's tensorrt backend does not read
    them, and no container carries a backend that does: the config names a backend of its own.
    """

    name = "tensorrt_rtx"
    distributions = ("tensorrt-rtx-cu12",)
    candidates = candidates("tensorrt_rtx", ".rtx.plan")

    def __init__(self, options: EngineOptions | None = None) -> None:
        super().__init__(TENSORRT_RTX, options or EngineOptions())


TARGET = TensorRTRTX()
