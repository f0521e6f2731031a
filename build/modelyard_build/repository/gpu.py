"""What the NVIDIA driver says of its GPUs. No framework is imported for it."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

# Which GPUs the driver shows to a process, and in which order.
VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
# The driver API's CUdevice_attribute values.
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        name: as the driver says it.
        compute_capability: such as "9.0".
    """

    name: str
    compute_capability: str


def find_gpu(index: int = 0) -> Gpu | None:
    """One of the GPUs that this process may see; None without a driver or a device."""
    found = look(index)
    return found if isinstance(found, Gpu) else None


def look(index: int) -> Gpu | str:
    """Asks the NVIDIA driver for a GPU, by its number among those that this process may see; or why there is none.

    The driver decides once in a process which ones these are.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"libcuda.so.1, which the NVIDIA driver brings, cannot be loaded ({error})"
    count = ctypes.c_int()
    if (answer := cuda.cuInit(0)) or (answer := cuda.cuDeviceGetCount(ctypes.byref(count))):
        return f"the NVIDIA driver finds no GPU (cuInit answers {answer}{_visible()})"
    if index >= count.value:
        return f"the NVIDIA driver shows {count.value}, counted from 0{_visible()}"
    return _described(cuda, index)


def _described(cuda: ctypes.CDLL, index: int) -> Gpu | str:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    if (answer := cuda.cuDeviceGet(ctypes.byref(device), index)) or (
        answer := cuda.cuDeviceGetName(name, len(name), device)
    ):
        return f"the NVIDIA driver does not describe it (its answer is {answer})"
    major, minor = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
    return Gpu(name.value.decode(), f"{major.value}.{minor.value}")


def _visible() -> str:
    stated = os.environ.get(VISIBLE_VARIABLE)
    return "" if stated is None else f"; {VISIBLE_VARIABLE} is {stated!r}"
