"""Version folders: which there are, and how one is added in a single step."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from modelyard_build.atomic import replacing
from modelyard_build.errors import PublishFailed

STAGING_PREFIX = ".staging-"
BYTECODE = "__pycache__"


def versions(model_folder: Path) -> list[int]:
    """The versions that Triton sees, ascending: numeric folder names without a leading zero."""
    if not model_folder.is_dir():
        return []
    names = [entry.name for entry in model_folder.iterdir() if entry.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal() and name.isascii() and not name.startswith("0"))


def latest(model_folder: Path) -> Path | None:
    """The folder of the newest version, or None."""
    found = versions(model_folder)
    return model_folder / str(found[-1]) if found else None


def publish(
    staged: Sequence[Path],
    model_folder: Path,
    finish: Callable[[Path, int], None],
    beside: AbstractContextManager[None] | None = None,
) -> Path:
    """Adds a version: copied beside, completed, synced to disk, renamed into place.

    Whatever fails, the versions that were there are untouched and nothing half-made remains.

    Args:
        staged: the folders whose files make up the version.
        model_folder: the model's folder in the repository.
        finish: `finish(folder, version)` adds what depends on the number.
        beside: entered when all is on the disk, right before the version takes its name: changes what stands beside the
            versions, and undoes that where the renaming fails.

    Returns:
        The new version's folder.

    Raises:
        PublishFailed: the disk is full, read-only, or the path cannot be used.
    """
    with _explained(model_folder):
        model_folder.mkdir(parents=True, exist_ok=True)
        _sweep(model_folder)
        version = (versions(model_folder) or [0])[-1] + 1
        with _staging(model_folder) as folder:
            for source in staged:
                _copy(source, folder)
            finish(folder, version)
            # mkdtemp makes the folder private; the server may run as another user.
            folder.chmod(0o755)
            _sync(folder)
            target = model_folder / str(version)
            with beside or contextlib.nullcontext():
                folder.rename(target)
            _sync_folder(model_folder)
    return target


def add(staged: Sequence[Path], version: Path, known: Collection[str], finish: Callable[[Path], None]) -> None:
    """Adds files to a published version; nothing that is there changes.

    Copied beside and synced, then each renamed into place; `finish` comes last, and before it nobody knows of them.

    Args:
        staged: the folders with the files.
        version: the version's folder.
        known: the files that are published in it, by relative path: they stay.
        finish: `finish(folder)` makes them known, in one step.

    Raises:
        PublishFailed: the disk is full, read-only, or the path cannot be used.
    """
    with _explained(version):
        _sweep(version.parent)
        with _staging(version.parent) as folder:
            for source in staged:
                _copy(source, folder)
            _sync(folder)
            _move_in(folder, version, known)
        _sync(version)
        finish(version)
        _sync_folder(version)


def _move_in(folder: Path, version: Path, known: Collection[str]) -> None:
    """Renames the files of a folder into a version, but for those that are known there."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        target = version / path.relative_to(folder)
        if target.relative_to(version).as_posix() not in known:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


@contextlib.contextmanager
def _staging(model_folder: Path) -> Iterator[Path]:
    """A folder beside the versions that Triton does not see, gone afterwards whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix=f"{STAGING_PREFIX}{os.getpid()}-", dir=model_folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_missing(path: Path, content: bytes) -> bool:
    """Writes a file that people may edit afterwards, only where none stands.

    Returns:
        Whether it was written.

    Raises:
        PublishFailed: the path cannot be written.
    """
    if path.exists():
        return False
    with _explained(path.parent), replacing(path) as partial:
        partial.write_bytes(content)
    return True


@contextlib.contextmanager
def replaced(files: Mapping[Path, bytes]) -> Iterator[None]:
    """Replaces files, each in one step, for good where the block succeeds; else they are as they were.

    Raises:
        PublishFailed: a path cannot be written.
    """
    before: dict[Path, bytes] = {}
    try:
        for path, content in files.items():
            with _explained(path.parent):
                before[path] = path.read_bytes()
                _replace(path, content)
        yield
    except BaseException:
        for path, content in before.items():
            _replace(path, content)
        raise


def _replace(path: Path, content: bytes) -> None:
    """Puts a content into a file whose permissions stay."""
    mode = path.stat().st_mode
    with replacing(path) as partial:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(mode)


def _sweep(model_folder: Path) -> None:
    """Removes what an interrupted build of a process that is gone left behind."""
    for folder in model_folder.glob(f"{STAGING_PREFIX}*"):
        owner = folder.name.removeprefix(STAGING_PREFIX).split("-")[0]
        if not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Copies a tree; unlike shutil.copytree it lets the first OSError through, with its errno.

    Python's bytecode, which a server that ran a staged step may have left, is no part of a version.
    """
    for path in sorted(path for path in source.rglob("*") if BYTECODE not in path.parts):
        destination = target / path.relative_to(source)
        if path.is_dir():
            destination.mkdir(exist_ok=True)
        else:
            shutil.copyfile(path, destination)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            _sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_MENDS = {
    errno.ENOSPC: "the disk is full. Free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up. Free some space and run the command again",
    errno.EROFS: "the file system is read-only. Build on a machine that may write there",
    errno.EACCES: "permission denied. Run as a user who may write there",
    errno.EPERM: "permission denied. Run as a user who may write there",
    errno.ENOTDIR: "a part of the path is a file. A model repository is a folder; name one with --repository",
    errno.EEXIST: "a part of the path is a file. A model repository is a folder; name one with --repository",
}


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = _MENDS.get(error.errno or 0, f"{error.strerror}")
        raise PublishFailed(f"nothing was published into {folder}: {reason}. What served before serves on.") from error
