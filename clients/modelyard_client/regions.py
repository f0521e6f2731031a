"""System shared-memory regions: files under /dev/shm that this process and the server both map."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from pathlib import Path

from modelyard_client.errors import SharedMemoryFailed
from modelyard_client.request import Region

DIRECTORY = Path("/dev/shm")  # noqa: S108 - it is where POSIX shared memory lives on Linux
PREFIX = "modelyard-client-"


class RegionFile:
    """A region of this process, zeroed; exists from the moment it is made until `unlink`.

    A lock on the file says that its maker lives: it goes with the process, however that ends, and so the next process
    that makes a region can remove what a killed one has left.

    Args:
        size: Bytes.

    Raises:
        SharedMemoryFailed: There is no room for it, or no /dev/shm.

    Attributes:
        region: Its names, as servers are told.
        memory: Its content. Arrays that view it stay valid after `unlink`.
    """

    def __init__(self, size: int) -> None:
        sweep()
        name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        self.region = Region(name, f"/{name}", max(size, 1))
        self._path = DIRECTORY / name
        try:
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _no_region(self.region, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            # Not truncate: that promises memory which a write then may not get, and the process dies of SIGBUS.
            os.posix_fallocate(self._descriptor, 0, self.region.size)
            self.memory = mmap.mmap(self._descriptor, self.region.size)
        except OSError as error:
            self.unlink()
            raise _no_region(self.region, error) from error

    def unlink(self) -> None:
        """Removes the name; the memory goes with the last array that views it and the last server that maps it."""
        self._path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def sweep() -> None:
    """Removes the regions of processes that were killed."""
    for path in DIRECTORY.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            # Another user's, or gone meanwhile.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            # Its maker lives.
            pass
        finally:
            os.close(descriptor)


def _no_region(region: Region, error: OSError) -> SharedMemoryFailed:
    return SharedMemoryFailed(
        f"cannot make a shared-memory region of {region.size / 2**20:.1f} MiB in {DIRECTORY} ({error.strerror}): "
        "make room there (a container's is set by --shm-size), or send the tensors over the network."
    )
