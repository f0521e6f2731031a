"""A file of any size by position: only what is looked at is read, and a file that shrinks meanwhile does no harm.

Not mmap: a page that is gone when it is touched kills the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard_build.repository.lint.artefacts.artefact import NOT_A_FILE, Unreadable

_STEP = 16 << 10


class Window:
    """An open file, a piece of which is in memory.

    Attributes:
        size: of the file, when it was opened.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._data = b""
        self._start = 0

    def at(self, position: int, length: int) -> tuple[bytes, int]:
        """A piece of memory, and where in it the position is; at least `length` bytes follow there.

        Raises:
            Unreadable: the file ends before.
        """
        offset = position - self._start
        if offset < 0 or offset + length > len(self._data):
            self._data = os.pread(self._descriptor, max(length, _STEP), position)
            self._start, offset = position, 0
            if len(self._data) < length:
                raise Unreadable("became shorter while it was read")
        return self._data, offset

    def bytes(self, start: int, end: int) -> bytes:
        """A part of the file.

        Raises:
            Unreadable: the file ends before.
        """
        data, offset = self.at(start, end - start)
        return data[offset : offset + end - start]


@contextmanager
def opened(path: Path) -> Iterator[Window]:
    """A regular file to look into.

    Raises:
        OSError: it cannot be opened.
        Unreadable: it is no regular file.
    """
    if not path.is_file():
        # A pipe would wait for a writer.
        raise Unreadable(NOT_A_FILE)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Window(descriptor)
    finally:
        os.close(descriptor)
