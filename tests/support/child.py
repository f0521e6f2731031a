"""Code in a process of its own: what must not, or cannot, happen in that of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, which may import what the tests may; a crash is told in its stderr."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
