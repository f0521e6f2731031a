"""What this machine computes on. The one place that asks; everything else is told.

A kind of machine has a name, and `configs/<name>.pbtxt` holds what was tuned for it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from modelyard_build.repository import device
from modelyard_build.repository.gpu import Gpu, find_gpu

# What decides which kernels a runtime has, the fastest first: Linux's name of the CPU flag, and ours of the machine.
_KINDS = (
    ("amx_bf16", "cpu-amx"),
    ("avx512_bf16", "cpu-avx512-bf16"),
    ("avx512_vnni", "cpu-avx512-vnni"),
    ("avx512f", "cpu-avx512"),
    ("avx_vnni", "cpu-avx2-vnni"),
    ("avx2", "cpu-avx2"),
)


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
    """Looks at the machine; `device` says whether a GPU is to be used.

    Raises:
        BuildError: the setting has another value, or asks for a GPU that is not there.
    """
    asked = device.chosen()
    gpu = None if asked.kind == "cpu" else find_gpu(asked.index)
    if asked.kind == "gpu" and gpu is None:
        device.check(asked, device.VARIABLE)
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
