"""Staging: made once, found again, never half; and what stands beside the versions."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from modelyard_build.errors import ExportFailed
from modelyard_build.model import Model, Tensor
from modelyard_build.plan import Planned
from modelyard_build.repository.releases import release
from modelyard_build.stage import cached_arrays, new_folder, stage, staged_folder, warmup_tensors
from support.small_models import POOLER

KEY = "0" * 64
RELEASE = release("26.06")


class Steps:
    """A build's progress, remembered."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @contextlib.contextmanager
    def step(self, model: str, step: str) -> Iterator[None]:
        """Remembers the step."""
        self.seen.append(step)
        yield

    def say(self, line: str) -> None:
        """Says nothing."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))


def planned(model: Model, folder: Path) -> Planned:
    return Planned(model, folder, {}, KEY, {}, None, "no version yet")


def test_what_is_staged_is_not_made_again(tmp_path: Path) -> None:
    """A second build finds graph and samples, and runs no step: this is how a build resumes."""
    steps = Steps()
    stage(planned(POOLER, tmp_path), RELEASE, steps)
    assert steps.seen == ["fetch", "load", "export", "samples"]
    again = stage(planned(POOLER, tmp_path), RELEASE, steps)
    assert len(steps.seen) == 4
    assert (again.graph / "model.onnx").is_file()
    golden = json.loads((again.beside / "golden" / "samples.json").read_text())
    assert len(golden["data"]) == len(golden["validation_data"]) == 8


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """What could not be exported is not in the cache, so the next build does not take it for made."""
    one_too_many = replace(POOLER, outputs=(*POOLER.outputs, Tensor("more", "FP32", (5,))))
    with pytest.raises(ExportFailed):
        stage(planned(one_too_many, tmp_path), RELEASE, Steps())
    assert list(staged_folder(KEY).parent.iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a step is as clean as a failure."""

    def interrupt(files: Mapping[str, Path]) -> nn.Module:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(planned(replace(POOLER, load=interrupt), tmp_path), RELEASE, Steps())
    assert list(staged_folder(KEY).parent.iterdir()) == []


def test_warmup_files_have_the_longest_shape(tmp_path: Path) -> None:
    """Triton warms up with a real sample of the largest size, written as its config says."""
    staged = stage(planned(POOLER, tmp_path), RELEASE, Steps())
    assert [(tensor.name, tensor.dims) for tensor in warmup_tensors(POOLER, staged.beside)] == [
        ("input_ids", (24,)),
        ("attention_mask", (24,)),
    ]


def test_a_reference_is_computed_once() -> None:
    """PyTorch's answers to thousands of texts are kept for the key of their source."""
    calls = []

    def compute() -> dict[str, np.ndarray]:  # type: ignore[type-arg]  # of any dtype
        calls.append(1)
        return {"scores": np.arange(3.0)}

    for _ in range(2):
        np.testing.assert_array_equal(cached_arrays("key-examples", compute)["scores"], [0.0, 1.0, 2.0])
    assert len(calls) == 1


def test_what_a_killed_build_left_is_swept(tmp_path: Path) -> None:
    """The next build removes the unfinished folder of a process that is gone, and leaves that of one at work."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, at_work = (tmp_path / f".{pid}-x" for pid in (ended.pid, os.getpid()))
    left.mkdir()
    at_work.mkdir()
    with new_folder(tmp_path / "whole"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {at_work.name, "whole"}


def test_bytes_are_kept_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of any content and length come back out of the cache, without pickle; numbers beside them too."""
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path))
    texts = np.array([[b"a\x00", b""], ["é".encode(), b"\x00"]], np.object_)
    kept = {"text": texts, "none": np.empty((0, 1), np.object_), "number": np.arange(3)}
    cached_arrays("mixed", lambda: kept)
    found = cached_arrays("mixed", dict)
    assert found.keys() == kept.keys()
    assert all(np.array_equal(found[name], kept[name]) for name in kept)
    assert found["none"].shape == (0, 1)
