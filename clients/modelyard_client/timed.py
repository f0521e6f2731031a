"""Reading an HTTP answer so that all of it, not each part of it, is bound by a deadline."""

from __future__ import annotations

import http.client
import io
import socket
from typing import Any

from modelyard_client.deadline import Deadline


class _TimedReader(io.RawIOBase):
    """Reads a socket so that the whole answer, not each part of it, is bound by a deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline.left()
        if left <= 0:
            raise TimeoutError("the deadline passed while the answer was coming")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """What `http.client.HTTPResponse` needs of a socket."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._reader = io.BufferedReader(_TimedReader(sock, deadline), buffer_size=1 << 16)

    def makefile(self, mode: str) -> io.BufferedIOBase:
        return self._reader


def response_until(deadline: Deadline, sock: socket.socket, **arguments: Any) -> http.client.HTTPResponse:
    """A `http.client.HTTPConnection.response_class`, once the deadline is filled in.

    Its reading raises TimeoutError when the deadline passes.
    """
    return http.client.HTTPResponse(_TimedSocket(sock, deadline), **arguments)  # type: ignore[arg-type]  # see above
