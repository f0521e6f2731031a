"""The machine: what `MODELYARD_DEVICE` asks for, and the name of its kind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from modelyard_build.repository import hardware as module
from modelyard_build.repository.device import VARIABLE
from modelyard_build.repository.gpu import Gpu, find_gpu
from modelyard_build.repository.hardware import cpu_flags, cpu_kind, hardware

# As the driver describes it; a GPU is not there where these tests run.
HOPPER = Gpu("NVIDIA H100 80GB HBM3", "9.0")

CPUINFO = """\
processor\t: 0
model name\t: one
bugs\t\t: sysret_ss_attrs
flags\t\t: fpu avx2 avx512f avx512_bf16
vmx flags\t: vnmi

processor\t: 1
flags\t\t: fpu
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A machine with a GPU, as far as the driver's answer goes."""
    monkeypatch.setattr(module, "find_gpu", lambda index=0: HOPPER)
    return HOPPER


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, wherever the test runs."""
    monkeypatch.setattr(module, "find_gpu", lambda index=0: None)


@pytest.mark.parametrize(
    ("device", "kind"), [("auto", "gpu-sm90"), ("gpu", "gpu-sm90"), ("gpu:0", "gpu-sm90"), (None, "gpu-sm90")]
)
def test_a_gpu_is_used_where_there_is_one(
    gpu: Gpu, device: str | None, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out, auto and gpu take it, and the machine is called by its compute capability."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if device:
        monkeypatch.setenv(VARIABLE, device)
    assert (hardware().name, hardware().gpu) == (kind, gpu)


def test_cpu_leaves_a_gpu_alone(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """MODELYARD_DEVICE=cpu builds and serves as a machine without a GPU would."""
    monkeypatch.setenv(VARIABLE, "cpu")
    assert hardware().gpu is None
    assert hardware().name.startswith("cpu-")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_the_cpu_names_the_machine(no_gpu: None, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto and cpu are the same there; the cores are those that the process may use."""
    monkeypatch.setenv(VARIABLE, device)
    assert hardware().name.startswith("cpu-")
    assert hardware().cores == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("flags", "native"), [({"avx512f"}, False), ({"avx512_bf16"}, True), ({"amx_bf16"}, True), (set(), False)]
)
def test_native_bfloat16_is_the_cpus(
    no_gpu: None, flags: set[str], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AVX512-BF16 and AMX multiply bfloat16; plain AVX-512 does not."""
    monkeypatch.setattr(module, "cpu_flags", lambda: frozenset(flags))
    assert hardware().native_bf16 is native


@pytest.mark.parametrize(
    ("architecture", "flags", "kind"),
    [
        ("x86_64", {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"}, "cpu-amx"),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni", "avx512_bf16"}, "cpu-avx512-bf16"),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, "cpu-avx512-vnni"),
        ("x86_64", {"avx2", "avx512f"}, "cpu-avx512"),
        ("x86_64", {"avx2", "avx_vnni"}, "cpu-avx2-vnni"),
        ("amd64", {"avx2"}, "cpu-avx2"),
        ("x86_64", {"sse4_2"}, "cpu-x86_64"),
        ("aarch64", set(), "cpu-aarch64"),
        # The flags of another architecture say nothing here.
        ("aarch64", {"avx2"}, "cpu-aarch64"),
    ],
)
def test_a_cpu_is_called_by_its_best_instructions(architecture: str, flags: set[str], kind: str) -> None:
    """The fastest set that it has decides the name."""
    assert cpu_kind(architecture, flags) == kind


def test_flags_are_those_of_the_first_cpu(tmp_path: Path) -> None:
    """Only the line that begins with `flags`, and only the first."""
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "avx512f", "avx512_bf16"}


def test_a_machine_that_says_no_flags_has_none(tmp_path: Path) -> None:
    """An ARM machine's file has `Features`; another system has no file."""
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert cpu_flags(tmp_path / "cpuinfo") == frozenset()
    assert cpu_flags(tmp_path / "absent") == frozenset()


def test_the_driver_and_nvidia_smi_agree() -> None:
    """Name and compute capability are the first GPU's; without a driver there is none."""
    if shutil.which("nvidia-smi") is None:
        assert find_gpu() is None
        return
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    first = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    assert find_gpu() == Gpu(*first.split(", "))
