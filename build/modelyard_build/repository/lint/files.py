"""Folders and files as they are found: missing, forbidden, no files at all, or vanishing while they are read."""

from __future__ import annotations

import abc
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """What stands in a folder, links followed.

    Attributes:
        name: without the folder.
        is_folder: whether it is one; a dangling or circular link is neither a folder nor a file.
        is_file: whether it is a regular file.
        size: in bytes, of a file.
        is_dangling: whether it is a link that leads nowhere, or in a circle.
    """

    name: str
    is_folder: bool
    is_file: bool
    size: int
    is_dangling: bool = False


def listing(folder: Path) -> tuple[dict[str, Entry], OSError | None]:
    """What stands in a folder by name, sorted, and why it could not be read."""
    try:
        with os.scandir(folder) as found:
            entries = [_entry(item) for item in found]
    except OSError as error:
        return {}, error
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}, None


def _entry(item: os.DirEntry[str]) -> Entry:
    try:
        if item.is_dir():
            return Entry(item.name, is_folder=True, is_file=False, size=0)
        return entry_of(item.name, item.stat())
    except OSError:
        return Entry(item.name, is_folder=False, is_file=False, size=0, is_dangling=item.is_symlink())


def entry_of(name: str, found: os.stat_result) -> Entry:
    """A file or folder as `stat` describes it."""
    is_file = stat.S_ISREG(found.st_mode)
    return Entry(name, stat.S_ISDIR(found.st_mode), is_file, found.st_size if is_file else 0)


def file_bytes(path: Path, most: int) -> bytes:
    """The first bytes of a regular file; a pipe or a device is not waited for.

    Args:
        path: of the file.
        most: how many bytes are read at most.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(0, f"it is a {'folder' if stat.S_ISDIR(mode) else 'pipe or a device'}, not a file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)


class Listed(abc.ABC):
    """What is a folder, listed once."""

    @abc.abstractmethod
    def _folder(self) -> Path: ...

    @cached_property
    def _listing(self) -> tuple[dict[str, Entry], OSError | None]:
        return listing(self._folder())

    @property
    def entries(self) -> dict[str, Entry]:
        """What stands in the folder, by name; empty where it cannot be listed."""
        return self._listing[0]

    @property
    def unreadable(self) -> OSError | None:
        """Why the folder could not be listed."""
        return self._listing[1]
