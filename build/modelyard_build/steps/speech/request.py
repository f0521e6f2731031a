"""A caller's request under way: what it brought, where the answers go, and whether anybody waits for them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from .lifeline import Lifeline

# How often Triton is asked whether a caller is still there.
WATCH_S = 0.2
# So long after it was seen that a caller has gone, its stream is ended. Triton 2.51 releases a stream twice, and
# crashes, where the end comes before the last response to that caller is off its hands.
LEAVE_S = 1.0

Arrays = Mapping[str, npt.NDArray[Any]]


class Gone(Exception):
    """Nobody waits for the answer."""


class Request:
    """One stream.

    Triton 2.51 may crash where it is asked about a request that is answered: nobody asks after the end of the stream,
    or while it is sent.

    Attributes:
        content: the sound, copied: a request's own memory is Triton's, and may go when `execute` returns.
        sample_rate: of samples without a header; 0 for a WAV file.
        wishes: what is passed on to the decoder.
        lifeline: held until the answer is complete, or nobody waits for it.
    """

    def __init__(self, request: Any) -> None:
        inputs = {each.name(): each.as_numpy() for each in request.inputs()}
        self.content = bytes(inputs["audio"].reshape(-1)[0])
        self.sample_rate = int(inputs["sample_rate"].reshape(-1)[0]) if "sample_rate" in inputs else 0
        self.wishes: Arrays = {name: inputs[name].copy() for name in ("language", "beam_size") if name in inputs}
        self.lifeline = Lifeline()
        self._sender = request.get_response_sender()
        self._lock = threading.Lock()
        self._over = False

    def check(self) -> None:
        """Raises Gone where nobody waits any more."""
        if self._over:
            raise Gone

    def look(self) -> None:
        """Asks Triton whether the caller is still there, unless something is being sent."""
        # Triton's gRPC endpoint may hang over what is sent while a stream is cancelled: others are looked after still.
        if self._lock.acquire(blocking=False):
            try:
                if not self._over and self._sender.is_cancelled():
                    self._give_up()
            finally:
                self._lock.release()

    def send(self, outputs: list[Any]) -> None:
        """Sends a response.

        Raises:
            Gone: nobody waits any more.
        """
        with self._lock:
            self.check()
            self._sender.send(pb_utils.InferenceResponse(outputs))

    def fail(self, message: str, code: Any) -> None:
        """Sends an error, where anybody waits for it."""
        with self._lock:
            if not self._over:
                self._sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code)))

    def end(self) -> None:
        """Sends the end of the stream; what is still under way for it stops."""
        with self._lock:
            has_gone = self._over or self._sender.is_cancelled()
            self._give_up()
            self.content = b""
            if has_gone:
                threading.Timer(LEAVE_S, self._end).start()
            else:
                self._end()

    def _end(self) -> None:
        self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _give_up(self) -> None:
        self._over = True
        self.lifeline.cut()


class Watch(threading.Thread):
    """Looks after the callers of all requests under way, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self._requests: set[Request] = set()
        self._stopped = threading.Event()

    @contextlib.contextmanager
    def over(self, request: Request) -> Iterator[None]:
        """From now on, until the block ends."""
        request.look()
        self._requests.add(request)
        try:
            yield
        finally:
            self._requests.discard(request)

    def run(self) -> None:
        """The thread."""
        while not self._stopped.wait(WATCH_S):
            self._look()

    def _look(self) -> None:
        for request in list(self._requests):
            request.look()

    def stop(self) -> None:
        """Waits for the thread's end."""
        self._stopped.set()
        self.join()
