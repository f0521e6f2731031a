"""The two small systems, built for real into a repository of the tests' own, and served."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard_build import pipeline
from modelyard_build.assets import cache_dir
from modelyard_ops.building import serve_scratch, server_on_free_ports
from modelyard_server.process import TritonServer
from support.silent import Silent

ROOT = Path(__file__).parents[3]
# What a fresh machine builds in a minute or two.
SYSTEMS = ("text_embedder", "ticket_classifier")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own configs, with versions that this session built (or found proven in the cache)."""
    folder = tmp_path_factory.mktemp("systems") / "model_repository"
    for system in SYSTEMS:
        for model in (ROOT / "model_repository").glob(f"{system}*"):
            shutil.copytree(model, folder / model.name, ignore=shutil.ignore_patterns("[0-9]*"))
    lock = cache_dir() / "locks" / "systems-of-the-tests"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        # One worker proves the systems; another that waited finds them proven in the cache.
        fcntl.flock(file, fcntl.LOCK_EX)
        pipeline.build(SYSTEMS, folder, serve_scratch, Silent())
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    """An embedded Triton over both systems."""
    with server_on_free_ports(repository) as running:
        yield running
