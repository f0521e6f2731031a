"""`modelyard verify`: what is published, held against PyTorch again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from modelyard_build.errors import BuildError
from modelyard_ops.commands.verify import verify
from modelyard_ops.errors import OpsError
from support.candidates import declare_only
from support.published import MODEL, prepare, publish, replace_file


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
    app.command()(verify)
    return CliRunner().invoke(app, ["--repository", str(repository), *arguments])


def line_of(result: Result, what: str) -> str:
    return next(line for line in result.stdout.splitlines() if line.startswith(f"pooler version 1, {what}: "))


def findings(result: Result) -> dict[str, Any]:
    return {finding["what"]: finding for finding in json.loads(result.stdout)}


def test_what_holds_is_said_with_its_figures(repository: Path) -> None:
    """A line a candidate, exit code 0; what was refused is not in the version and has none."""
    result = run(repository)
    assert result.exit_code == 0, result.output
    for name in ("onnxruntime-fp32", "openvino-fp32"):
        line = line_of(result, name)
        assert ": holds scores: max_error " in line
        assert "max_error_in_floors" in line
        assert "min_cosine" in line
    assert "pytorch-fp32" not in result.stdout


def test_what_cannot_run_here_is_skipped_with_the_reason(repository: Path) -> None:
    """It is no failure: the exit code stays 0."""
    assert "not run: fp16 is computed by the CUDA provider" in line_of(run(repository), "onnxruntime-fp16")


def test_findings_as_json(repository: Path) -> None:
    """One document for a script: the evidence, or why there is none."""
    found = findings(run(repository, "--json", "pooler"))
    assert set(found) == {"onnxruntime-fp32", "openvino-fp32", "onnxruntime-fp16"}
    assert found["openvino-fp32"]["evidence"]["scores"]["min_cosine"] > 0.99999
    assert found["onnxruntime-fp16"]["skipped"]
    assert [finding["failed"] for finding in found.values()] == ["", "", ""]


def test_an_artefact_that_answers_otherwise_fails(repository: Path) -> None:
    """Exit code 1, the candidate and the worst element; the others are verified all the same."""
    version = repository / "pooler" / "1"
    weights = bytearray((version / "model.bin").read_bytes())
    # The embeddings come first; the first row is of a token that nobody sends.
    weights[64:128] = weights[128:192]
    replace_file(version, "model.bin", bytes(weights))
    result = run(repository)
    assert result.exit_code == 1
    assert "output 'scores' differs from PyTorch by" in line_of(result, "openvino-fp32")
    assert "holds" in line_of(result, "onnxruntime-fp32")
    assert findings(run(repository, "--json"))["openvino-fp32"]["failed"]


def test_an_artefact_that_does_not_load_fails(repository: Path) -> None:
    """Exit code 1 and the library's words, as one finding among the others."""
    replace_file(repository / "pooler" / "1", "model.xml", b"<net")
    result = run(repository)
    assert result.exit_code == 1
    assert "does not load model.xml" in line_of(result, "openvino-fp32")
    assert "holds" in line_of(result, "onnxruntime-fp32")


@pytest.mark.parametrize("name", ["model.onnx", "model.bin"])
def test_a_file_that_was_tampered_with_is_named(repository: Path, name: str) -> None:
    """Not what was published: exit code 1 before anything runs, with the file and what to do."""
    path = repository / "pooler" / "1" / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    result = run(repository)
    assert result.exit_code == 1
    assert isinstance(result.exception, BuildError)
    assert f"pooler cannot be verified: version 1 is damaged: {name} is not what was published" in str(result.exception)
    assert "modelyard build pooler" in str(result.exception)


def test_another_source_than_the_versions_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference that has changed proves nothing about what was built from the one before."""
    declare_only(monkeypatch, MODEL, file="atomic.py")
    result = run(repository)
    assert result.exit_code == 1
    assert "cannot be verified: changed since version 1: atomic.py" in str(result.exception)


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """No version yet, an unknown model, no repository."""
    assert "cannot be verified: no version yet. Build it first" in str(run(tmp_path).exception)
    assert "Did you mean pooler?" in str(run(tmp_path, "poolr").exception)
    missing = run(tmp_path / "absent")
    assert isinstance(missing.exception, OpsError)
