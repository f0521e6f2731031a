"""Building again: nothing to do, a new version under load, an interruption at any point."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from modelyard_build.assets import cache_dir
from modelyard_build.repository.versions import versions
from modelyard_client import Client
from modelyard_ops.building import server_on_free_ports

# The first of these tests builds both systems where nothing is cached.
pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

COMMAND = [sys.executable, "-c", "from modelyard_ops.cli import main; main()"]
PACKAGE = Path(__file__).parents[3] / "build" / "modelyard_build"
SYSTEM = ["text_embedder_tokenizer", "text_embedder_encoder", "text_embedder"]
SYSTEMS = ["text_embedder", "ticket_classifier"]
OTHERS = ["ticket_classifier_tokenizer", "ticket_classifier_encoder", "ticket_classifier"]


def run(arguments: Sequence[str], source: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(source)} if source else None
    return subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True, env=environment)


@pytest.fixture
def own_repository(repository: Path, tmp_path: Path) -> Path:
    """A copy that a test may publish into."""
    folder = tmp_path / "model_repository"
    shutil.copytree(repository, folder)
    return folder


@pytest.fixture
def changed_source(tmp_path: Path) -> Path:
    """The build package with one system's file touched."""
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source / "modelyard_build", ignore=shutil.ignore_patterns("__pycache__"))
    path = source / "modelyard_build" / "models" / "text_embedder.py"
    path.write_text(path.read_text() + "\n# Touched.\n")
    return source


def test_a_second_build_has_nothing_to_do(
    own_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so for every model, publishes nothing, and needs neither the cache nor the network for it."""
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "empty"))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    done = run(["build", *SYSTEMS, "--repository", str(own_repository), "--json"])
    results = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(row["model"], row["version"], row["built"]) for row in results] == [
        (name, 1, False) for name in [*SYSTEM, *OTHERS]
    ]
    assert not list((tmp_path / "empty").glob("assets/*"))


class Callers(threading.Thread):
    """Calls one model over and over until told to stop, and keeps what went wrong and which versions answered."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.done = threading.Event()
        self.failures: list[Exception] = []
        self.versions: set[str] = set()

    def run(self) -> None:
        """Calls until `done`, leaving time for the build; no retries, so that each lost request shows."""
        from modelyard_client import RetryPolicy

        text = np.array([[b"a request that must not be lost"]], dtype=np.object_)
        with Client(f"grpc://{self.url}", retry=RetryPolicy(attempts=1)) as client:
            while not self.done.wait(0.02):
                try:
                    self.versions.add(client.infer("text_embedder", {"text": text}).model_version)
                except Exception as error:  # noqa: BLE001  # whatever it is, it is a lost request
                    self.failures.append(error)


def test_a_touched_source_becomes_version_2_under_load(own_repository: Path, changed_source: Path) -> None:
    """Only what depends on it is rebuilt; version 1 stays as it was; the running server loses no request."""
    before = {path: path.read_bytes() for path in own_repository.glob("*/1/*") if path.is_file()}
    with server_on_free_ports(own_repository) as server:
        callers = [Callers(server.grpc_url) for _ in range(2)]
        for caller in callers:
            caller.start()
        done = run(["build", *SYSTEMS, "--repository", str(own_repository)], changed_source)
        time.sleep(1)
        for caller in callers:
            caller.done.set()
        for caller in callers:
            caller.join()
    assert done.returncode == 0, done.stderr
    assert f"loaded {', '.join(SYSTEM)}\n" in done.stdout
    assert {name: versions(own_repository / name) for name in [*SYSTEM, *OTHERS]} == {
        **{name: [1, 2] for name in SYSTEM},
        **{name: [1] for name in OTHERS},
    }
    assert {path: path.read_bytes() for path in before} == before
    assert [failure for caller in callers for failure in caller.failures] == []
    assert set().union(*(caller.versions for caller in callers)) == {"1", "2"}


@pytest.mark.parametrize("step", ["export", "verify", "start"])
def test_an_interrupted_build_leaves_nothing_half_made(tmp_path: Path, step: str) -> None:
    """Ctrl-C while a step is at work: exit 130, one word, no version, no staging folder, no process left."""
    repository, cache = tmp_path / "model_repository", tmp_path / "cache"
    cache.mkdir()
    for kept in ("assets", "triton-2.51.0"):
        (cache / kept).symlink_to(cache_dir() / kept)
    if step == "start":
        # The exports are not what is interrupted here.
        shutil.copytree(cache_dir() / "build", cache / "build")
    process = subprocess.Popen(
        [*COMMAND, "build", "text_embedder", "--repository", str(repository)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MODELYARD_CACHE": str(cache)},
    )
    wait_for = {"export": "encoder: load", "verify": "encoder: export", "start": "text_embedder"}[step]
    assert process.stderr is not None
    for line in process.stderr:
        if wait_for in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not list(repository.glob("*/[0-9.]*"))
    assert not list((cache / "build").glob(".*"))
