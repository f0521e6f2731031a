"""The two libraries that build engines, and in what they differ."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """One of NVIDIA's engine builders.

    Attributes:
        module: the name under which Python imports it.
        title: what people call it.
        extra: the project's extra that installs it.
        builds_on_gpu: whether it times kernels on the GPU that will serve; otherwise it compiles ahead of time, on any
            CPU, for every GPU of `portable_to`.
        portable_to: compute capabilities on which an engine runs that was built without naming any; the last one stands
            for itself and all later ones.
    """

    module: str
    title: str
    extra: str
    builds_on_gpu: bool
    portable_to: tuple[str, ...] = ()


TENSORRT = Library("tensorrt", "TensorRT", "tensorrt", builds_on_gpu=True)
TENSORRT_RTX = Library(
    "tensorrt_rtx", "TensorRT-RTX", "tensorrt-rtx", builds_on_gpu=False, portable_to=("8.0", "8.6", "8.9", "12.0")
)
LIBRARIES = {library.module: library for library in (TENSORRT, TENSORRT_RTX)}


def installed(library: Library) -> bool:
    """Whether Python would find it; nothing is imported."""
    return importlib.util.find_spec(library.module) is not None
