"""The two libraries that run engines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """One of them.

    Attributes:
        backend: The name in config.pbtxt, and of the Python module.
        title: What people call it.
        extra: The project's extra that installs it.
        lists_profiles: Whether config.pbtxt lists the optimization profiles that are served. Triton refuses
            `instance_group.profile` of every backend but tensorrt, so an engine of another one serves all it has.
    """

    backend: str
    title: str
    extra: str
    lists_profiles: bool


TENSORRT = Library("tensorrt", "TensorRT", "tensorrt", lists_profiles=True)
TENSORRT_RTX = Library("tensorrt_rtx", "TensorRT-RTX", "tensorrt-rtx", lists_profiles=False)
