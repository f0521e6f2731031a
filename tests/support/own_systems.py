"""The project's own systems with their real weights, built into a repository of a test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from modelyard_build import pipeline
from modelyard_ops.building import serve_scratch
from support.silent import Silent

MODEL_REPOSITORY = Path(__file__).parents[2] / "model_repository"


def build_own(folder: Path, *systems: str) -> Path:
    """Copies the configs of systems into a folder and builds them there, or finds them proven in the cache.

    What this machine's configs serve is left out: what was built here before decides nothing.
    """
    for system in systems:
        for model in MODEL_REPOSITORY.glob(f"{system}*"):
            shutil.copytree(model, folder / model.name, ignore=shutil.ignore_patterns("[0-9]*", "cpu-*.pbtxt"))
    pipeline.build(systems, folder, serve_scratch, Silent())
    return folder
