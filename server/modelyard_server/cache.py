"""Where this package keeps what it installs and what it knows of running servers: outside the tree."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard_server.errors import ServerError

CACHE_VARIABLE = "MODELYARD_CACHE"


def cache_dir() -> Path:
    """`$MODELYARD_CACHE`, else `$XDG_CACHE_HOME/modelyard`, else `~/.cache/modelyard`; not necessarily there yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "modelyard"


def make_folder(folder: Path) -> Path:
    """Makes a folder of the cache, parents included.

    Raises:
        ServerError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


@contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file for the block; waits while another process holds it.

    The kernel drops the lock when its holder dies, so that a killed process blocks nobody.

    Raises:
        ServerError: the file cannot be written.
    """
    make_folder(lock.parent)
    try:
        handle = lock.open("a")
    except OSError as error:
        raise cannot_write(lock, error) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cannot_write(path: Path, error: OSError) -> ServerError:
    """What to say of a file or folder of the cache that cannot be written."""
    return ServerError(
        f"cannot write {path}: {error.strerror}. Free space there, or name another cache folder in {CACHE_VARIABLE}."
    )
