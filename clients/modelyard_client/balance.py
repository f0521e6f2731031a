"""Which of several servers takes a call: the one with the fewest in flight; one that fails is put aside for a while."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from modelyard_client.endpoint import Endpoint

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


@dataclass
class _State:
    in_flight: int = 0
    failures: int = 0
    aside_until: float = 0.0
    last_used: int = 0


class Balancer:
    """Chooses servers; safe to use from many threads.

    A server that cannot be reached is put aside for 1 s, then 2, 4… up to 30 s. When that time is over one call tries
    it again, while the others keep away from it until that one has succeeded.
    """

    def __init__(self, endpoints: Sequence[Endpoint], clock: Callable[[], float] = time.monotonic) -> None:
        self.endpoints = tuple(endpoints)
        self._states = {endpoint: _State() for endpoint in endpoints}
        self._clock = clock
        self._uses = 0
        self._lock = threading.Lock()

    def acquire(self, tried: Collection[Endpoint] = (), sequence_id: int | str = 0) -> Endpoint:
        """Chooses a server and counts the call on it until `release`.

        Args:
            tried: Servers that this call has already been sent to; they are taken only where no other is left.
            sequence_id: All requests of a sequence go to one server, for that is where its state is.
        """
        with self._lock:
            endpoint = self._owner(sequence_id) if sequence_id else self._choose(tried)
            self._uses += 1
            state = self._states[endpoint]
            state.in_flight += 1
            state.last_used = self._uses
            if state.failures:
                # This call is the one that tries it again.
                state.aside_until = self._clock() + _pause(state.failures)
            return endpoint

    def hold(self, endpoint: Endpoint) -> None:
        """Counts one more call on a server that has been acquired, until `release`."""
        with self._lock:
            self._states[endpoint].in_flight += 1

    def release(self, endpoint: Endpoint, reachable: bool | None) -> None:
        """Ends a call.

        Args:
            endpoint: The server that `acquire` gave.
            reachable: Whether the server could be reached; None where the call did not find out.
        """
        with self._lock:
            state = self._states[endpoint]
            state.in_flight -= 1
            if reachable:
                state.failures, state.aside_until = 0, 0.0
            elif reachable is False:
                state.failures += 1
                state.aside_until = self._clock() + _pause(state.failures)

    def sequence_id(self, draw: Callable[[], int | str]) -> int | str:
        """Draws ids until one belongs to the server that would take the next call."""
        with self._lock:
            best = self._choose(())
        while self._owner(drawn := draw()) != best:
            pass
        return drawn

    def has_other(self, tried: Collection[Endpoint]) -> bool:
        """Whether a server is left that this call has not been sent to and that is not put aside."""
        with self._lock:
            now = self._clock()
            return any(state.aside_until <= now for each, state in self._states.items() if each not in tried)

    def _owner(self, sequence_id: int | str) -> Endpoint:
        # Not hash(): it differs from process to process, and a sequence may be continued by another one.
        return self.endpoints[zlib.crc32(str(sequence_id).encode()) % len(self.endpoints)]

    def _choose(self, tried: Collection[Endpoint]) -> Endpoint:
        now = self._clock()
        left = [each for each in self.endpoints if each not in tried] or self.endpoints
        up = [each for each in left if self._states[each].aside_until <= now]
        if not up:
            return min(left, key=lambda each: self._states[each].aside_until)
        return min(up, key=lambda each: (self._states[each].in_flight, self._states[each].last_used))


def _pause(failures: int) -> float:
    # 5 doublings reach the longest pause; an exponent without bound would overflow in time.
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 5))
