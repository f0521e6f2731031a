"""`modelyard explain`: a version's manifest as a person wants to read it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from modelyard_build.errors import BuildError
from modelyard_ops.commands.explain import explain
from modelyard_ops.errors import OpsError
from support.published import prepare, publish


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A version with candidates of every verdict."""
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch, tmp_path_factory.mktemp("cache"))
        yield publish(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(built, tmp_path / "repository")


def run(repository: Path, *arguments: str) -> Result:
    """Runs the command in this process."""
    app = typer.Typer()
    app.command()(explain)
    return CliRunner().invoke(app, [*arguments, "--repository", str(repository)])


def test_a_version_is_explained_from_its_source_to_its_evidence(repository: Path) -> None:
    """Signature, release, sources, steps, files with hashes, each candidate with verdict and figures."""
    result = run(repository, "pooler")
    assert result.exit_code == 0, result.output
    for words in (
        "pooler version 1, published 20",
        "inputs    input_ids INT64 [-1], attention_mask INT64 [-1]",
        "outputs   scores FP32 [5]",
        "batch     1 to 16",
        "for       Triton ",
        "  errors.py",
        " s  write openvino-fp32",
        "MiB  model.bin",
        "proven",
        "pytorch-fp32 is refused: pooler: output 'scores' differs from PyTorch by",
        "onnxruntime-fp16: proven is the graph, not the artefact: fp16 is computed by the CUDA provider",
        "max_error_in_floors",
        "worst batch ",
    ):
        assert words in result.stdout
    assert "damaged" not in result.stdout


def test_figures_of_the_machine_that_measured_them(repository: Path) -> None:
    """Its kind in the heading, and the sizes, rounds and cores above the table."""
    found = json.loads((repository / "pooler" / "1" / "manifest.json").read_text())
    (kind,) = found["measurements"]
    text = run(repository, "pooler").stdout
    assert f"candidates {kind}" in text
    assert "batch 8, sequence 12, 2 callers; 10 rounds, interleaved" in text


def test_json_is_the_manifest_itself(repository: Path) -> None:
    """Nothing else stands on stdout."""
    result = run(repository, "pooler", "--json")
    assert json.loads(result.stdout) == json.loads((repository / "pooler" / "1" / "manifest.json").read_text())


def test_a_version_can_be_named(repository: Path) -> None:
    """Without a number the newest one is explained; a missing number is answered with those that are there."""
    shutil.copytree(repository / "pooler" / "1", repository / "pooler" / "2")
    manifest = repository / "pooler" / "2" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    assert "pooler version 2" in run(repository, "pooler").stdout
    assert "pooler version 1" in run(repository, "pooler", "--version", "1").stdout
    for number in ("7", "0"):
        error = run(repository, "pooler", "--version", number).exception
        assert isinstance(error, OpsError)
        assert str(error) == f"pooler has no version {number}; it has 1, 2."


def test_an_unknown_model_is_one_sentence(repository: Path) -> None:
    """It says where nothing was found and how to build it."""
    error = run(repository, "absent").exception
    assert isinstance(error, OpsError)
    assert "absent holds no version. Build it: modelyard build absent" in str(error)


def test_a_damaged_version_says_so(repository: Path) -> None:
    """A changed or missing file is named; the rest is explained as it was published."""
    (repository / "pooler" / "1" / "model.bin").unlink()
    result = run(repository, "pooler")
    assert result.exit_code == 0
    assert "damaged: model.bin is gone" in result.stdout
    assert "candidates" in result.stdout


@pytest.mark.parametrize("content", ["", "{", '{"model": "pooler"}', "[]"])
def test_a_manifest_that_is_none_is_one_sentence(repository: Path, content: str) -> None:
    """Its path and what to do; never a traceback of another kind."""
    (repository / "pooler" / "1" / "manifest.json").write_text(content)
    error = run(repository, "pooler").exception
    assert isinstance(error, BuildError)
    assert "manifest.json cannot be read as a manifest" in str(error)
