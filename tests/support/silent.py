"""A build's progress, shown to nobody."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def step(self, model: str, step: str) -> Iterator[None]:
        """Shows nothing."""
        yield

    def say(self, line: str) -> None:
        """Says nothing."""
