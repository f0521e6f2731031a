"""The two small systems, built for real into a repository of the tests' own, and served."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard_build.assets import cache_dir
from modelyard_ops.building import server_on_free_ports
from modelyard_server.process import TritonServer
from support.own_systems import build_own

ROOT = Path(__file__).parents[3]
# What a fresh machine builds in a minute or two.
SYSTEMS = ("text_embedder", "ticket_classifier")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own configs, with versions that this session built (or found proven in the cache)."""
    folder = tmp_path_factory.mktemp("systems") / "model_repository"
    lock = cache_dir() / "locks" / "systems-of-the-tests"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        # One worker proves the systems; another that waited finds them proven in the cache.
        fcntl.flock(file, fcntl.LOCK_EX)
        return build_own(folder, *SYSTEMS)


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    """An embedded Triton over both systems."""
    with server_on_free_ports(repository) as running:
        yield running
