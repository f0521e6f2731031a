"""When a failed call is sent again."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard_client.errors import InvalidInput


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon.

    Only what is safe to repeat is: a call that no server took, and, once, one whose connection broke in the middle,
    where the model keeps no state. A request of a sequence is never repeated. All of it ends with the call's deadline.

    The pause before the n-th retry is `min(max_backoff, initial_backoff * multiplier ** (n - 1))`, of which the second
    half is random ("equal jitter", AWS Architecture Blog, "Exponential Backoff and Jitter"): many clients do not come
    back at once, and none before the server had time. Another server is tried without a pause.

    Attributes:
        attempts: How often a call is sent at most; each server after the first adds one.
        initial_backoff: Seconds.
        multiplier: Growth from one retry to the next.
        max_backoff: Seconds.
    """

    attempts: int = 4
    initial_backoff: float = 0.1
    multiplier: float = 2.0
    max_backoff: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.initial_backoff < 0 or self.max_backoff < 0 or self.multiplier < 1:
            raise InvalidInput(
                f"{self} makes no sense: attempts and multiplier are at least 1, the pauses are not negative."
            )

    def pause(self, retry: int, chance: float) -> float:
        """Seconds before the `retry`-th retry (from 1); `chance` is uniform in [0, 1)."""
        # Any growth has reached the maximum long before the 64th doubling, which floats still hold.
        return (1 + chance) / 2 * min(self.max_backoff, self.initial_backoff * self.multiplier ** min(retry - 1, 64))
