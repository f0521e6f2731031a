"""`make gpu-check`: one sentence without a GPU; with one, every part that cannot run says why and the rest goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from modelyard_build.repository.gpu import find_gpu

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.py"


@pytest.fixture(name="check", scope="module")
def loaded_script() -> Iterator[ModuleType]:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules["gpu_check"], path = module, list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    del sys.modules["gpu_check"]


@pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_and_that_is_all(tmp_path: Path) -> None:
    """One sentence, exit code 0, from a bare checkout: nothing is imported for it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", str(SCRIPT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("No NVIDIA GPU here")
    assert done.stdout.count("\n") == 1


def test_the_table_has_figures_and_reasons(check: ModuleType) -> None:
    """A dash where there is no figure, the reason at the end."""
    rows = [
        check.Row("TensorRT", "ResNet-50", "fp16", 1.234, 25932.4, 0.999987, "engine of 50 MiB"),
        check.Row("ONNX Runtime", "", "", note="no CUDA provider"),
    ]
    lines = check.table(rows).splitlines()
    assert lines[0].split() == ["runtime", "network", "precision", "ms/batch", "items/s", "min", "cosine"]
    assert lines[1].split(maxsplit=6) == [
        "TensorRT",
        "ResNet-50",
        "fp16",
        "1.23",
        "25,932",
        "0.99999",
        "engine of 50 MiB",
    ]
    assert lines[2].split(maxsplit=5) == ["ONNX", "Runtime", "-", "-", "-", "no CUDA provider"]


def test_an_error_becomes_one_line(check: ModuleType) -> None:
    """Ours as it is; a foreign one with its kind."""
    assert check.one_line(check.CannotRun("not installed")) == "not installed"
    assert check.one_line(ValueError("\n  bad shape\nlong story")) == "ValueError: bad shape"
    assert check.one_line(MemoryError()) == "MemoryError"


@pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")
@pytest.mark.parametrize("part", ["torch.compile", "ONNX Runtime", "TensorRT-RTX", "embedded Triton"])
def test_a_part_that_cannot_run_says_why(check: ModuleType, tmp_path: Path, part: str) -> None:
    """In one line, and its process ends well."""
    [row] = check.rows_of(part, tmp_path)
    assert (row.part, row.milliseconds) == (part, None)
    assert row.note
    assert "\n" not in row.note


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended by signal 9"),
        ("sys.exit(3)", "ended with status 3: out of luck"),
    ],
)
def test_a_part_that_dies_keeps_its_rows(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, said: str
) -> None:
    """What was measured before counts; how the part ended is a row."""
    part = check.Row("TensorRT", "ResNet-50", "fp16", 1.0, 32000.0, 1.0)
    script = tmp_path / "part.py"
    script.write_text(
        "import os, signal, sys\n"
        f"open({str(check.rows_path(tmp_path, 'TensorRT'))!r}, 'w').write({json.dumps(vars(part))!r} + '\\n')\n"
        f"print('out of luck', flush=True)\n{ending}\n"
    )
    monkeypatch.setattr(check, "__file__", str(script))
    rows = check.rows_of("TensorRT", tmp_path)
    assert rows[0] == part
    assert said in rows[1].note


def test_the_graphs_get_what_they_take(check: ModuleType) -> None:
    """Floats as float16, tokens as they are; a batch of 32 and 128 tokens."""
    given = [check.half(network.inputs()) for network in check.NETWORKS]
    assert {name: (array.shape, str(array.dtype)) for arrays in given for name, array in arrays.items()} == {
        "pixels": ((32, 3, 224, 224), "float16"),
        "input_ids": ((32, 128), "int64"),
        "attention_mask": ((32, 128), "int64"),
    }
