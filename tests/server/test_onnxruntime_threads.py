"""The cores that a process may use, by affinity and CPU quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard_server.backend_support.threads import available_cores, cpu_quota, threads_per_instance


def write(path: Path, text: str) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_there_is_always_a_thread() -> None:
    """More instances than cores still run."""
    assert [threads_per_instance(cores, 3) for cores in (1, 2, 3, 7)] == [1, 1, 1, 2]


def test_this_process_has_a_core_and_no_more_than_its_affinity() -> None:
    """On the real system."""
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


def test_affinity_is_respected() -> None:
    """A process that is pinned to one core has one."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("text", "quota"), [("150000 100000\n", 1.5), ("max 100000\n", None)])
def test_version_2_quotas_are_read(tmp_path: Path, text: str, quota: float | None) -> None:
    """cpu.max of the group that the process is in."""
    write(tmp_path / "own", "0::/app\n")
    write(tmp_path / "fs/app/cpu.max", text)
    assert cpu_quota(tmp_path / "fs", tmp_path / "own") == quota


def test_the_tightest_group_on_the_way_up_counts(tmp_path: Path) -> None:
    """A group above may allow less than one's own."""
    write(tmp_path / "own", "0::/pod/app\n")
    write(tmp_path / "fs/pod/app/cpu.max", "800000 100000\n")
    write(tmp_path / "fs/pod/cpu.max", "200000 100000\n")
    assert cpu_quota(tmp_path / "fs", tmp_path / "own") == 2


@pytest.mark.parametrize(("text", "quota"), [("300000\n", 3.0), ("-1\n", None)])
def test_version_1_quotas_are_read(tmp_path: Path, text: str, quota: float | None) -> None:
    """cpu.cfs_quota_us over cpu.cfs_period_us, -1 being none."""
    write(tmp_path / "own", "4:cpu,cpuacct:/app\n3:memory:/other\n")
    write(tmp_path / "fs/cpu/app/cpu.cfs_quota_us", text)
    write(tmp_path / "fs/cpu/app/cpu.cfs_period_us", "100000\n")
    assert cpu_quota(tmp_path / "fs", tmp_path / "own") == quota


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    """Nothing mounted, nothing limited."""
    assert cpu_quota(tmp_path / "fs", tmp_path / "own") is None
