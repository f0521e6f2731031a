"""When to ask Triton whether requests were cancelled.

Triton drops a cancelled request from its queue. One that is given up while its batch, already formed, waits for the
instance is handed over all the same, and the backend may ask about it. Asking costs a round trip to the server process,
about 0.1 ms a request, while the whole batch waits: 5 % of the time that a small encoder needs. So it is asked only
where a request is worth the question: where the last run took `WORTH_ASKING_S` a request, asking costs half a percent.
"""

from __future__ import annotations

WORTH_ASKING_S = 0.02


class Cancellation:
    """Remembers how long the last run took a request."""

    def __init__(self) -> None:
        self._seconds_per_request = 0.0

    def observe(self, seconds: float, requests: int) -> None:
        """Tells how long a run took, and for how many requests."""
        self._seconds_per_request = seconds / max(1, requests)

    def worth_asking(self) -> bool:
        """Whether a run that is spared is worth more than the question."""
        return self._seconds_per_request >= WORTH_ASKING_S
