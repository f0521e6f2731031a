"""Progress, for people who watch."""

from __future__ import annotations

import sys


def progress(text: str) -> None:
    """One line that is overwritten; an empty text clears it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
