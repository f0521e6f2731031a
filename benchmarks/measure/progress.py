"""What is measured on, and progress, for people who watch."""

from __future__ import annotations

import os
import sys

from modelyard_build.repository.hardware import hardware
from modelyard_server.backend_support.threads import available_cores


def machine() -> str:
    """What kind it is, and how busy."""
    return f"{hardware().name}, {available_cores()} cores, load average {os.getloadavg()[0]:.1f}"


def progress(text: str) -> None:
    """One line that is overwritten; an empty text clears it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
