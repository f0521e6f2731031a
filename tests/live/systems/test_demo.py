"""The README's first command, on a repository that is built already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The first of these tests builds both systems where nothing is cached.
pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


def test_the_demo_shows_the_whole_way(repository: Path) -> None:
    """Build, serve, neighbours, labels, measurements, stop: each with its answer, and nothing that looks like noise."""
    command = [sys.executable, "-c", "from modelyard_ops.cli import main; main()", "demo", "--repository"]
    done = subprocess.run([*command, str(repository)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for expected in (
        "text_embedder: version 1 is up to date, nothing to do",
        "gRPC 127.0.0.1:",
        "Somebody opened an account in my name",
        "gRPC and HTTP differ by at most",
        "Credit reporting",
        "batch size 1",
        "Triton drained and stopped",
    ):
        assert expected in done.stdout
    assert "Warning" not in done.stderr
