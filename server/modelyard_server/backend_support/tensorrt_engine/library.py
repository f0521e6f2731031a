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
    """

    backend: str
    title: str
    extra: str


TENSORRT = Library("tensorrt", "TensorRT", "tensorrt")
TENSORRT_RTX = Library("tensorrt_rtx", "TensorRT-RTX", "tensorrt-rtx")
