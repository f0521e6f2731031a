"""How many threads one instance of a model may run, so that all instances together do not oversubscribe the cores."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def threads_per_instance(cores: int, instances: int) -> int:
    """The cores shared out evenly, at least one thread each.

    Args:
        cores: That this process may use, see `available_cores`.
        instances: Of the model on this host; each is a process of its own.
    """
    return max(1, cores // instances)


def available_cores() -> int:
    """The cores that this process may use: its CPU affinity, and the CPU quota of its control groups."""
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(_CGROUPS, _OWN_CGROUPS)
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(cgroups: Path, own_cgroups: Path) -> float | None:
    """The smallest CPU quota on the way from this process's control group to the root, in cores.

    Version 2 has ``cpu.max`` ("quota period", or "max"), version 1 ``cpu.cfs_quota_us`` (-1: none) and
    ``cpu.cfs_period_us``: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files and
    https://docs.kernel.org/scheduler/sched-bwc.html.

    Args:
        cgroups: Where they are mounted.
        own_cgroups: The list of those that this process is in.

    Returns:
        The quota, or None where there is none.
    """
    quotas = [_quota_v2(folder) for folder in _folders(cgroups, own_cgroups, "")]
    quotas += [_quota_v1(folder) for folder in _folders(cgroups / "cpu", own_cgroups, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _folders(mount: Path, own_cgroups: Path, controller: str) -> list[Path]:
    """The folders of this process's group under a mount, and of the groups that hold it."""
    path = _own_path(own_cgroups, controller)
    if path is None:
        return []
    group = mount / path.lstrip("/")
    return [folder for folder in (group, *group.parents) if folder.is_relative_to(mount)]


def _own_path(own_cgroups: Path, controller: str) -> str | None:
    """Lines are ``id:controllers:path``; version 2's names no controller."""
    for line in _read(own_cgroups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def _quota_v2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdigit() else None


def _read(path: Path) -> str:
    """Absent on systems with the other version of control groups, and in containers without them."""
    try:
        return path.read_text()
    except OSError:
        return ""
