"""What this machine computes on. The one place that asks; everything else is told.

A kind of machine has a name, and `configs/<name>.pbtxt` holds what was tuned for it.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from modelyard_build.errors import BuildError

# "auto", "cpu" or "cuda": the one setting that says what to build for and to serve on.
DEVICE_VARIABLE = "MODELYARD_DEVICE"
DEVICES = ("auto", "cpu", "cuda")
# What decides which kernels a runtime has, the fastest first: Linux's name of the CPU flag, and ours of the machine.
_KINDS = (
    ("amx_bf16", "cpu-amx"),
    ("avx512_bf16", "cpu-avx512-bf16"),
    ("avx512_vnni", "cpu-avx512-vnni"),
    ("avx512f", "cpu-avx512"),
    ("avx_vnni", "cpu-avx2-vnni"),
    ("avx2", "cpu-avx2"),
)
# The driver API's CUdevice_attribute values.
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """The first NVIDIA GPU.

    Attributes:
        name: as the driver says it.
        compute_capability: such as "9.0".
    """

    name: str
    compute_capability: str


@dataclass(frozen=True)
class Hardware:
    """This machine.

    Attributes:
        name: the kind of machine: a GPU's compute capability ("gpu-sm90"), else the CPU's instruction set.
        cores: CPUs that this process may use.
        native_bf16: whether the CPU multiplies bfloat16 itself.
        gpu: the GPU that is to be used, if there is one.
    """

    name: str
    cores: int
    native_bf16: bool
    gpu: Gpu | None


def hardware() -> Hardware:
    """Looks at the machine; `MODELYARD_DEVICE` says whether a GPU is to be used (auto: where there is one).

    Raises:
        BuildError: the variable has another value, or asks for a GPU that is not there.
    """
    device = os.environ.get(DEVICE_VARIABLE, "auto")
    if device not in DEVICES:
        raise BuildError(f"{DEVICE_VARIABLE} is {device!r}; it can be {', '.join(DEVICES)}.")
    gpu = None if device == "cpu" else find_gpu()
    if device == "cuda" and gpu is None:
        raise BuildError(f"{DEVICE_VARIABLE} is cuda, but the NVIDIA driver finds no GPU. Check `nvidia-smi`.")
    flags = cpu_flags()
    name = f"gpu-sm{gpu.compute_capability.replace('.', '')}" if gpu else cpu_kind(platform.machine(), flags)
    return Hardware(name, len(os.sched_getaffinity(0)), bool({"avx512_bf16", "amx_bf16"} & flags), gpu)


def cpu_kind(architecture: str, flags: Collection[str]) -> str:
    """The kind of a CPU."""
    if architecture not in ("x86_64", "amd64"):
        return f"cpu-{architecture}"
    return next((name for flag, name in _KINDS if flag in flags), "cpu-x86_64")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Linux's flags of the first CPU; none where it does not say."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def find_gpu() -> Gpu | None:
    """Asks the NVIDIA driver for its first device; None without a driver or a device."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0) or cuda.cuDeviceGetName(name, len(name), device):
        return None
    major, minor = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
    return Gpu(name.value.decode(), f"{major.value}.{minor.value}")
