"""The order of a round: each begins with another part, so that none is always the first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def rotated(parts: Iterable[T], number: int) -> list[T]:
    """The parts in the order of round `number`."""
    order = deque(parts)
    order.rotate(-number)
    return list(order)
