"""Shared-memory regions on this machine, and where tensors lie in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard_client.errors import InvalidInput, SharedMemoryFailed
from modelyard_client.metadata import ModelSignature, TensorSpec
from modelyard_client.regions import DIRECTORY, PREFIX, RegionFile, sweep
from modelyard_client.shared_memory import ALIGNMENT, plan

MODEL = ModelSignature(
    "m",
    inputs={
        "x": TensorSpec("x", "FP32", (-1, -1)),
        "y": TensorSpec("y", "INT8", (-1, 3)),
        "s": TensorSpec("s", "BYTES", (-1, 1)),
    },
    outputs={
        "p": TensorSpec("p", "FP64", (-1, 5)),
        "q": TensorSpec("q", "FP32", (-1, -1)),
        "t": TensorSpec("t", "BYTES", (-1, 1)),
    },
    max_batch_size=8,
)


def test_region_exists_until_it_is_unlinked() -> None:
    """Nobody else may read it; arrays that view it live on; unlinking twice is harmless."""
    file = RegionFile(1000)
    path = DIRECTORY / file.region.name
    array = np.frombuffer(file.memory, np.uint8)
    assert path.stat().st_size == 1000
    assert path.stat().st_mode & 0o777 == 0o600
    assert not array.any()
    file.unlink()
    file.unlink()
    assert not path.exists()
    array[:] = 7
    assert array.sum() == 7000


def test_names_are_unique() -> None:
    """Two regions at once, of this process or others."""
    files = [RegionFile(1) for _ in range(3)]
    assert len({file.region.name for file in files}) == 3
    assert all(f"{PREFIX}{os.getpid()}-" in file.region.key for file in files)
    for file in files:
        file.unlink()


def test_region_without_room_is_an_error_and_leaves_nothing() -> None:
    """Found when it is made; a write into memory that is not there would kill the process."""
    size = os.statvfs(DIRECTORY).f_bavail * os.statvfs(DIRECTORY).f_frsize * 2
    with pytest.raises(SharedMemoryFailed, match=r"cannot make a shared-memory region of .* MiB .*--shm-size"):
        RegionFile(size)
    assert not list(DIRECTORY.glob(f"{PREFIX}{os.getpid()}-*"))


def test_region_of_a_killed_process_is_swept_and_of_a_living_one_is_not() -> None:
    """Kill -9 leaves the file; the next process that makes a region removes it."""
    code = "from modelyard_client.regions import RegionFile; print(RegionFile(100).region.name, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        path = DIRECTORY / child.stdout.readline().strip()
        sweep()
        assert path.exists()
        child.send_signal(signal.SIGKILL)
    assert path.exists()
    RegionFile(1).unlink()
    assert not path.exists()


@given(st.integers(1, 8), st.integers(0, 50), st.booleans())
def test_tensors_lie_apart_and_aligned(batch: int, width: int, all_outputs: bool) -> None:
    """Each begins at a cache line and ends before the next begins."""
    inputs, outputs = plan(MODEL, {"x": (batch, width), "y": (batch, 3)}, None if all_outputs else {"q": (batch, 9)})
    rooms = [*inputs, *outputs]
    assert [room.spec.name for room in rooms] == ["x", "y", "p" if all_outputs else "q"]
    assert [room.size for room in rooms] == [batch * width * 4, batch * 3, batch * (40 if all_outputs else 36)]
    assert all(room.offset % ALIGNMENT == 0 for room in rooms)
    assert all(first.offset + first.size <= second.offset for first, second in pairwise(rooms))


@pytest.mark.parametrize(
    ("inputs", "outputs", "sentence"),
    [
        ({"z": (1, 1)}, None, "has no input 'z'"),
        ({"x": (1, 1)}, {"z": (1, 1)}, "has no output 'z'"),
        ({"y": (1, 4)}, None, r"input 'y' of model 'm' has shape \[1, 4\].*must be 3"),
        ({"x": (9, 1)}, None, "a batch is 1 to 8"),
        ({"x": (1, 1)}, {"p": (1, 4)}, "output 'p' .*must be 5"),
        ({"s": (1, 1)}, None, "is BYTES"),
        ({"x": (1, 1)}, {"t": (1, 1)}, "is BYTES"),
    ],
)
def test_tensors_that_cannot_share(
    inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]] | None, sentence: str
) -> None:
    """Names, shapes and BYTES are refused before a region is made."""
    with pytest.raises(InvalidInput, match=sentence):
        plan(MODEL, inputs, outputs)
