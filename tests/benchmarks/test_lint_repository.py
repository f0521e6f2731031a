"""The repository that lint is measured on."""

from __future__ import annotations

from pathlib import Path

import onnx

from measure.lint_repository import MODELS, write_repository
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository


def test_it_is_sound_and_of_ten_files_a_model(tmp_path: Path) -> None:
    """Nothing is found in it, so that the time of finding is not the time of printing; its graphs are real."""
    assert write_repository(tmp_path, 2 * MODELS) == 2 * MODELS * 10
    repository = Repository(tmp_path, Settings())
    assert len(repository.models) == 2 * MODELS
    assert [finding.message for finding in lint([repository], [], repository.settings, RULES)] == []
    graphs = list(tmp_path.rglob("model.onnx"))
    assert len(graphs) == 12
    onnx.checker.check_model(onnx.load(graphs[0]), full_check=True)
