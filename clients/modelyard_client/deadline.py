"""When a call must be over."""

from __future__ import annotations

import time
from collections.abc import Callable

from modelyard_client.errors import InvalidInput


class Deadline:
    """A point in time, `seconds` after it was made, on a clock that never goes back.

    Attributes:
        seconds: How long the whole call may take, retries and their pauses included.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not 0 < seconds < float("inf"):
            raise InvalidInput(f"the deadline is {seconds} s; it is a positive, finite number of seconds.")
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds until then; 0 once it has passed."""
        return max(0.0, self._end - self._clock())
