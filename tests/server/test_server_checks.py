"""What must hold before Triton is started: each check gives one sentence with the way out."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from modelyard_server.built import model_folders
from modelyard_server.checks import (
    check_config_name,
    check_numpy,
    check_platform,
    check_python,
    check_repository,
)
from modelyard_server.errors import (
    MissingLibraryError,
    NumpyVersionError,
    RepositoryError,
    UnsupportedPlatformError,
)
from modelyard_server.install import install_triton
from modelyard_server.libraries import check_libraries, library_path, missing_library
from support.triton import write_model


def test_this_machine_passes() -> None:
    """Where the tests run, Triton runs."""
    check_platform()
    check_python()
    check_numpy()
    check_libraries(install_triton())


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_another_platform(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    """Elsewhere than on Linux x86_64 the container is the way out."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(UnsupportedPlatformError, match=f"this is {system} {machine}.*docker compose up"):
        check_platform()


@pytest.mark.parametrize(
    ("told", "got"), [("glibc 2.31", "glibc 2.31"), (None, "another C library"), ("musl 1.2", "another C library")]
)
def test_an_old_or_other_c_library(monkeypatch: pytest.MonkeyPatch, told: str | None, got: str) -> None:
    """Glibc before 2.35, and musl, are refused with what was found."""
    monkeypatch.setattr(os, "confstr", lambda name: told)
    with pytest.raises(UnsupportedPlatformError, match=f"needs glibc 2.35 or later; this machine has {got}"):
        check_platform()


@pytest.mark.parametrize("version", [(3, 9), (3, 13)])
def test_another_python(version: tuple[int, int]) -> None:
    """A Python for which there is no backend is refused, with those for which there is one."""
    with pytest.raises(UnsupportedPlatformError, match=rf"3\.10, 3\.11, 3\.12; this is {version[0]}\.{version[1]}"):
        check_python(version)


def test_numpy_2_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Numpy 2 in the environment is found by its metadata, and the command that mends it is named."""
    metadata = tmp_path / "numpy-2.3.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.3.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NumpyVersionError, match=r"is 2\.3\.1, with which outputs come back empty") as caught:
        check_numpy()
    assert str(caught.value).endswith(f"Run: {sys.executable} -m pip install 'numpy<2'")


def test_no_numpy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without numpy cannot run a Python model either."""
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(NumpyVersionError, match="is not installed"):
        check_numpy()


def test_numpy_of_pythonpath_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Triton's Python processes do not look at PYTHONPATH."""
    metadata = tmp_path / "numpy-1.26.4.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    check_numpy()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(NumpyVersionError, match="is not installed"):
        check_numpy()


def test_a_missing_libpython_names_its_package(tmp_path: Path) -> None:
    """A library that the loader does not find gives the command that installs it."""
    triton = install_triton()
    libpython = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    stub = triton.python_backend / "triton_python_backend_stub"
    missing = libpython.replace("python3", "pythom3")
    patched = tmp_path / "stub"
    patched.write_bytes(stub.read_bytes().replace(libpython.encode(), missing.encode()))
    assert missing_library(stub, library_path(triton)) == ""
    assert missing_library(patched, library_path(triton)) == missing


def test_the_sentence_for_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says who needs what, and on Debian and Ubuntu how to get it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setattr("modelyard_server.libraries.missing_library", lambda *_: f"libpython{version}.so.1.0")
    with pytest.raises(MissingLibraryError, match=rf"tritonserver needs libpython{version}.so.1.0, .*"):
        check_libraries(install_triton())


def test_the_users_library_path_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user put on LD_LIBRARY_PATH is searched after Triton's own libraries."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/users")
    folders = library_path(install_triton()).split(os.pathsep)
    assert folders[-2:] == [str(install_triton().library_path), "/opt/users"]


def test_a_repository_that_is_missing(tmp_path: Path) -> None:
    """The path is named in full."""
    with pytest.raises(RepositoryError, match=f"there is no model repository at {tmp_path / 'none'}"):
        check_repository(tmp_path / "none")


def test_a_repository_that_is_a_file(tmp_path: Path) -> None:
    """A file is told from a folder."""
    (tmp_path / "model.onnx").touch()
    with pytest.raises(RepositoryError, match=r"model\.onnx is a file; a model repository is a folder"):
        check_repository(tmp_path / "model.onnx")


def test_a_repository_without_a_model(tmp_path: Path) -> None:
    """Hidden folders, caches and files are no models."""
    for name in (".git", "__pycache__"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").touch()
    with pytest.raises(RepositoryError, match="holds no model: expected a folder for each"):
        check_repository(tmp_path)
    write_model(tmp_path, "identity")
    check_repository(tmp_path)
    assert model_folders(tmp_path) == ["identity"]


def test_a_config_name_that_no_model_has(tmp_path: Path) -> None:
    """A mistyped config name would serve every config.pbtxt silently; it is refused with those that exist."""
    configs = write_model(tmp_path, "identity") / "configs"
    configs.mkdir()
    (configs / "gpu.pbtxt").touch()
    check_config_name(tmp_path, "gpu")
    check_config_name(tmp_path, None)
    with pytest.raises(RepositoryError, match=r"has a configs/gpo\.pbtxt; there are: gpu\."):
        check_config_name(tmp_path, "gpo")
