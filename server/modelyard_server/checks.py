"""What must hold before Triton is started. Each check raises one sentence with the way out, and returns nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import site
import sys
from collections.abc import Collection
from pathlib import Path

from modelyard_server.built import model_folders, to_build, unbuilt
from modelyard_server.errors import NumpyVersionError, RepositoryError, UnsupportedPlatformError
from modelyard_server.install import PYTHON_VERSIONS

MIN_GLIBC = (2, 35)


def check_platform() -> None:
    """The binaries are for Linux on x86_64 with glibc 2.35 or later.

    Raises:
        UnsupportedPlatformError: this is something else.
    """
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise UnsupportedPlatformError(
            f"the embedded Triton runs on Linux x86_64; this is {system} {machine}. "
            "Run Triton's container instead: docker compose up"
        )
    found = glibc_version()
    if found < MIN_GLIBC:
        name = f"glibc {found[0]}.{found[1]}" if found != (0, 0) else "another C library than glibc"
        raise UnsupportedPlatformError(
            f"the embedded Triton needs glibc {MIN_GLIBC[0]}.{MIN_GLIBC[1]} or later; this machine has {name}. "
            "Use Debian 12, Ubuntu 22.04 or later, or run Triton's container: docker compose up"
        )


def glibc_version() -> tuple[int, int]:
    """Major and minor version; (0, 0) where the C library is another."""
    try:
        major, minor = (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ").split(".")[:2]
        return int(major), int(minor)
    except (ValueError, OSError):
        return 0, 0


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Triton's Python backend comes for a few versions of Python.

    Raises:
        UnsupportedPlatformError: `version` is none of them.
    """
    name = f"{version[0]}.{version[1]}"
    if name not in PYTHON_VERSIONS:
        raise UnsupportedPlatformError(
            f"the embedded Triton's Python models run on Python {', '.join(PYTHON_VERSIONS)}; this is {name}. "
            "Make the environment with another: make env PYTHON=python3.11"
        )


def check_numpy() -> None:
    """The Python backend of Triton 2.51 was built against numpy 1: with 2 every output comes back empty, silently.

    Reads the metadata of this environment, which is the one that Triton's Python processes run in; imports nothing.
    From Python 3.11 on they run isolated: packages of the user's own folder or of PYTHONPATH are not theirs.

    Raises:
        NumpyVersionError: numpy is absent, or 2.0 or later.
    """
    outside = {site.getusersitepackages(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    path = [folder for folder in sys.path if folder and folder not in outside]
    found = next((each.version for each in importlib.metadata.distributions(name="numpy", path=path)), "")
    if not found or int(found.split(".")[0]) >= 2:
        got = f"is {found}, with which outputs come back empty" if found else "is not installed"
        raise NumpyVersionError(
            f"the embedded Triton's Python models need numpy 1.x in {sys.prefix}; there it {got}. "
            f"Run: {sys.executable} -m pip install 'numpy<2'"
        )


def check_repository(repository: Path) -> None:
    """A model repository is a folder of models.

    Raises:
        RepositoryError: it is missing, a file, unreadable, or holds no model.
    """
    if not repository.exists():
        raise RepositoryError(f"there is no model repository at {repository.absolute()}. Name an existing folder.")
    if not repository.is_dir():
        raise RepositoryError(f"{repository.absolute()} is a file; a model repository is a folder of models.")
    try:
        models = model_folders(repository)
    except OSError as error:
        raise RepositoryError(f"cannot read the model repository {repository.absolute()}: {error.strerror}.") from error
    if not models:
        raise RepositoryError(
            f"the model repository {repository.absolute()} holds no model: expected a folder for each, "
            "with a config.pbtxt and numbered versions in it."
        )


def check_models(repository: Path, models: Collection[str], config_name: str | None = None) -> None:
    """What is asked for must be built; so must be something, where all that is built is asked for.

    Args:
        repository: a model repository.
        models: those that were asked for; empty: all that are built.
        config_name: the value of `--model-config-name`.

    Raises:
        RepositoryError: a model is not there, is not built, or none is.
    """
    known, missing = model_folders(repository), unbuilt(repository, config_name)
    if unknown := sorted(set(models) - set(known)):
        raise RepositoryError(f"the model repository {repository} holds no {unknown[0]!r}; it has {', '.join(known)}.")
    if asked := sorted(set(models) & missing.keys()):
        raise RepositoryError(
            f"{asked[0]} cannot be served: {missing[asked[0]]}. Build it: {to_build(repository, asked, config_name)}"
        )
    if not models and len(missing) == len(known):
        raise RepositoryError(
            f"none of the {len(known)} models of {repository} is built. Build what is to be served, or all of it: "
            "modelyard build"
        )


def check_config_name(repository: Path, name: str | None) -> None:
    """A config name that no model has would silently serve every config.pbtxt.

    Raises:
        RepositoryError: no model has `configs/<name>.pbtxt`.
    """
    known = sorted({path.stem for path in repository.glob("*/configs/*.pbtxt")})
    if name is not None and name not in known:
        raise RepositoryError(
            f"no model in {repository} has a configs/{name}.pbtxt; there are: {', '.join(known) or 'none'}."
        )
