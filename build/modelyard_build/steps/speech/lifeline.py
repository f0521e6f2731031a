"""Whether an answer is still wanted, for a model that another model calls: Triton does not tell it.

A request that a client gives up is cancelled for the step that got it. The requests which that step sends on
(business-logic scripting) are not: in Triton 2.51 a called model never learns that nobody waits. So the calling step
holds a line for each request, and sends its name along as a parameter of each call; the called step finds out with one
system call whether the line is still held. A line is a socket in Linux's abstract namespace: no file is left behind,
and a process that dies lets go of its lines.
"""

from __future__ import annotations

import secrets
import socket

# Of a request's parameters.
PARAMETER = "lifeline"


class Lifeline:
    """Holds a line until it is cut.

    Attributes:
        name: what the called model is told.
    """

    def __init__(self) -> None:
        self.name = secrets.token_hex(16)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_address(self.name))

    def cut(self) -> None:
        """Lets go; again changes nothing."""
        self._socket.close()


def is_cut(name: str) -> bool:
    """Whether nobody holds the line of this name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(_address(name))
        except OSError:
            # Refused; or the name is none that this module makes.
            return True
    return False


def _address(name: str) -> bytes:
    """What begins with a zero is no path."""
    return b"\0modelyard-" + name.encode()
