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
        raise ServerError(
            f"cannot make the folder {folder}: {error.strerror}. "
            f"Name a cache folder that you can write to in {CACHE_VARIABLE}."
        ) from error
    return folder


@contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file for the block; waits while another process holds it.

    The kernel drops the lock when its holder dies, so that a killed process blocks nobody.
    """
    make_folder(lock.parent)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
