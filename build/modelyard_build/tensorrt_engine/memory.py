"""How much memory the builder may take, and how much it has.

The limit is on resident memory, watched from outside: a limit on address space (RLIMIT_AS) would stop CUDA, which
reserves more of it than any machine has memory, and the library does not always survive a refused allocation.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from modelyard_build.errors import ArtefactFailed

VARIABLE = "MODELYARD_BUILDER_MEMORY_MIB"
MIB = 1 << 20
# The rest stays with the build itself. Without a limit the kernel chooses whom it kills, and it may choose the build.
SHARE = 0.8


def limit_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """The builder's limit: the environment's, else a share of what is free on the machine and in its container.

    Raises:
        ArtefactFailed: the environment's is not a number above 0.
    """
    if configured := os.environ.get(VARIABLE):
        if not configured.isdecimal() or int(configured) == 0:
            raise ArtefactFailed(f"{VARIABLE} is {configured!r}; it must be a number of MiB above 0.")
        return int(configured) * MIB
    available = _field_kib(meminfo, "MemAvailable") * 1024
    with contextlib.suppress(OSError, ValueError):  # no container, or "max": no limit
        available = min(available, int(cgroup.read_text()))
    return int(available * SHARE)


def resident_bytes(pid: int) -> int:
    """What a process has in memory and swap; 0 when it is gone."""
    try:
        return (
            _field_kib(Path(f"/proc/{pid}/status"), "VmRSS") + _field_kib(Path(f"/proc/{pid}/status"), "VmSwap")
        ) << 10
    except OSError:
        return 0


def peak_bytes() -> int:
    """The most that this process has had in memory."""
    # Not getrusage's ru_maxrss: that keeps the parent's figure from before the exec.
    return _field_kib(Path("/proc/self/status"), "VmHWM") << 10


def _field_kib(path: Path, name: str) -> int:
    """A field in kB of a file of /proc; 0 where it is missing, as in a process that has ended."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
