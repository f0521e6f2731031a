"""What the real perf_analyzer printed, recorded: see tests/scripts/data/perf_analyzer/README.md."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "scripts" / "data" / "perf_analyzer"


def stdout(name: str) -> str:
    """The standard output of a recorded run."""
    return (FOLDER / f"{name}.stdout.txt").read_text(encoding="utf-8")


def stderr(name: str) -> str:
    """The standard error of a recorded run."""
    return (FOLDER / f"{name}.stderr.txt").read_text(encoding="utf-8")
