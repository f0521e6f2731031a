"""Determinism: the same module gives the same bytes, whatever else the process is and did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard_build import export

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from modelyard_build import graph_files
from modelyard_build.export import export
from support import small_encoder, small_models

models = [(small_models.POOLER, small_models.load), (small_encoder.ENCODER, small_encoder.load)]
for model, load in reversed(models) if sys.argv[2] == "reversed" else models:
    graph = export(model, load({}), {})
    graph_files.save(graph, Path(sys.argv[1]) / f"{model.name}.onnx")
    graph_files.SINGLE_FILE_BYTES, limit = 1000, graph_files.SINGLE_FILE_BYTES
    graph_files.save(graph, Path(sys.argv[1]) / f"{model.name}-large.onnx")
    graph_files.SINGLE_FILE_BYTES = limit
"""


def exported(folder: Path, order: str, cwd: Path, **environment: str) -> dict[str, bytes]:
    """The files that a fresh process writes."""
    folder.mkdir()
    paths = os.pathsep.join(str(ROOT / part) for part in ("build", "tests"))
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), order],
        check=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Two processes with other hash seeds, threads, working folders and pasts."""
    folder = tmp_path_factory.mktemp("determinism")
    return (
        exported(folder / "first", "straight", ROOT, PYTHONHASHSEED="1"),
        exported(folder / "second", "reversed", folder, PYTHONHASHSEED="271828", OMP_NUM_THREADS="1"),
    )


@pytest.mark.parametrize("name", ["pooler", "small_encoder"])
@pytest.mark.parametrize("suffix", [".onnx", "-large.onnx", "-large.onnx.data"])
def test_two_processes_write_the_same_bytes(
    twice: tuple[dict[str, bytes], dict[str, bytes]], name: str, suffix: str
) -> None:
    """Neither hash seed, threads, working folder nor an earlier export shows in a graph or its weights."""
    first, second = twice
    assert first.keys() == second.keys()
    assert first[name + suffix] == second[name + suffix]


def test_no_path_of_this_machine_is_in_a_graph(twice: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
    """Stack traces and file names of the machine that exported are gone, and so is the home of torch."""
    home = Path(export.__file__).parents[1]
    for content in twice[0].values():
        for path in (ROOT, home, Path(sys.prefix), Path.home()):
            assert str(path).encode() not in content
