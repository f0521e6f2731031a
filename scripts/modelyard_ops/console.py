"""Where a command writes: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Writes one JSON document to stdout, unstyled, for a script to read."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
