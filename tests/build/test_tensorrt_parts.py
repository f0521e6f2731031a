"""The parts of the engine builder that decide without the library: memory, progress, timing cache, messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard_build.errors import ArtefactFailed
from modelyard_build.tensorrt_engine import builder, memory, timing_cache
from modelyard_build.tensorrt_engine.job import Binding, Job
from modelyard_build.tensorrt_engine.phases import Phases
from modelyard_build.tensorrt_engine.profiles import Profile, Shapes

JOB = Job(
    library="tensorrt",
    graph="g.onnx",
    engine="e.plan",
    bindings=(Binding("x", "input", "FP32", (-1, 3)),),
    profiles=(Profile({"x": Shapes((1, 3), (8, 3), (16, 3))}),),
    version_compatible=True,
    hardware_compatibility="ampere_plus",
    compute_capabilities=("8.9",),
    workspace_bytes=1 << 30,
    timing_cache="cache",
    layers="",
)


def test_a_job_is_the_same_on_the_other_side() -> None:
    """One line of JSON, tuples and all."""
    assert Job.from_json(JOB.to_json()) == JOB
    assert "\n" not in JOB.to_json()


# Memory


@pytest.fixture(name="machine")
def machine_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A machine with 10 GiB free, in a container without a limit."""
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:  20971520 kB\nMemAvailable:   10485760 kB\n")
    cgroup.write_text("max\n")
    return meminfo, cgroup


def test_the_limit_is_a_share_of_what_is_free(machine: tuple[Path, Path]) -> None:
    """Of the machine, or of its container where that has less."""
    assert memory.limit_bytes(*machine) == 8 << 30
    machine[1].write_text(str(5 << 30))
    assert memory.limit_bytes(*machine) == 4 << 30
    machine[1].unlink()
    assert memory.limit_bytes(*machine) == 8 << 30


def test_the_limit_can_be_set(machine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """In MiB; anything else is refused with what was given."""
    monkeypatch.setenv(memory.VARIABLE, "512")
    assert memory.limit_bytes(*machine) == 512 << 20
    for wrong in ("0", "2G", "-1"):
        monkeypatch.setenv(memory.VARIABLE, wrong)
        with pytest.raises(ArtefactFailed, match=f"is '{wrong}'; it must be a number of MiB"):
            memory.limit_bytes(*machine)


def test_memory_is_read_of_a_process_and_of_one_that_is_gone() -> None:
    """A process that just ended is not an error."""
    assert memory.resident_bytes(os.getpid()) > 10 << 20
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert memory.resident_bytes(done.pid) == 0


# Progress


def test_progress_is_the_share_of_nested_phases() -> None:
    """Half of the outer phase's second step of four is three eighths."""
    phases = Phases()
    phases.start("outer", None, 4)
    phases.step("outer", 0)
    phases.start("inner", "outer", 2)
    phases.step("inner", 0)
    assert phases.fraction() == pytest.approx(0.375)


def test_progress_never_goes_back() -> None:
    """A phase that ends before its parent's step is counted takes nothing away; the end is 1."""
    phases = Phases()
    phases.start("outer", None, 2)
    phases.start("inner", "outer", 2)
    phases.step("inner", 0)
    phases.finish("inner")
    assert phases.fraction() == 0.0
    phases.step("outer", 0)
    assert phases.fraction() == 0.5
    phases.start("other", None, 10)
    assert phases.fraction() == 0.5
    phases.step("outer", 1)
    assert phases.fraction() == 1.0
    phases.finish("outer")
    phases.step("outer", 3)
    assert phases.fraction() == 1.0


def test_lines_for_people_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library reports many times a second is a line each few seconds, with share and phase."""
    said: list[str] = []
    messages: list[dict[str, Any]] = [
        {"progress": 0.1, "phase": "a"},
        {"say": "hm"},
        {"progress": 0.42, "phase": "Timing"},
        {"record": {}},
    ]
    assert builder._follow(messages, "m", said.append, said.append) == {"record": {}}
    assert said == ["m: hm"]
    monkeypatch.setattr(builder, "LINE_INTERVAL_S", 0.0)
    assert builder._follow([{"version": "11.0"}, *messages[:3]], "m", said.append, said.append) is None
    assert said[1:] == ["11.0", "m: 10%, a", "m: hm", "m: 42%, Timing"]


# The timing cache


def test_a_timing_cache_belongs_to_a_version_and_a_device(tmp_path: Path) -> None:
    """Another GPU or another build of the library has its own file."""
    paths = {
        timing_cache.cache_path(tmp_path, "tensorrt", version, device).name
        for version in ("11.0.1.4", "11.0.1.5")
        for device in ("NVIDIA H100 80GB HBM3, 9.0", "NVIDIA L4, 8.9")
    }
    assert len(paths) == 4
    assert "tensorrt-11.0.1.4-NVIDIA-L4-8.9.timing" in paths


def test_a_timing_cache_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And nothing is found where there is none."""
    path = tmp_path / "new" / "cache.timing"
    assert timing_cache.read(path) == (b"", "")
    timing_cache.write(path, b"measured")
    assert timing_cache.read(path) == (b"measured", "")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 200])
def test_a_damaged_timing_cache_gives_nothing_and_a_line(tmp_path: Path, content: bytes) -> None:
    """Cut off, foreign or empty."""
    path = tmp_path / "cache.timing"
    path.write_bytes(content)
    data, problem = timing_cache.read(path)
    assert data == b""
    assert f"{path} is damaged" in problem


def test_a_timing_cache_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    """A folder in its place: the build goes on, and says so."""
    data, problem = timing_cache.read(tmp_path)
    assert data == b""
    assert "cannot be read" in problem
