"""The shared libraries that Triton loads: where they are, and which is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from modelyard_server.errors import MissingLibraryError
from modelyard_server.install import Triton

LOADER = Path("/lib64/ld-linux-x86-64.so.2")
PACKAGES = {
    "libcrypto.so.3": "libssl3",
    "libgcc_s.so.1": "libgcc-s1",
    "libssl.so.3": "libssl3",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}
"""The Debian and Ubuntu packages of the libraries that are in no wheel."""


def check_libraries(triton: Triton) -> None:
    """Triton and its Python backend must find every shared library that they are linked to.

    Raises:
        MissingLibraryError: one is not on this machine.
    """
    for binary in (triton.tritonserver, triton.python_backend / "triton_python_backend_stub"):
        missing = missing_library(binary, library_path(triton))
        if missing:
            raise MissingLibraryError(
                f"{binary.name} needs {missing}, which this machine does not have. "
                f"On Debian and Ubuntu: apt-get install {_package_of(missing)}"
            )


def library_path(triton: Triton) -> str:
    """The value of LD_LIBRARY_PATH for Triton: its own libraries, and this interpreter's libpython where it has one.

    An interpreter of pyenv, conda or /usr/local must not be mixed with the distribution's library of the same name.
    """
    candidates = [Path(str(sysconfig.get_config_var("LIBDIR"))), Path(sys.base_prefix) / "lib"]
    own = [str(folder) for folder in candidates if (folder / libpython()).exists()][:1]
    users = os.environ.get("LD_LIBRARY_PATH")
    return os.pathsep.join([*own, str(triton.library_path), *([users] if users else [])])


def missing_library(binary: Path, library_path: str) -> str:
    """The first shared library that the dynamic loader does not find for a binary; empty where it finds all."""
    listing = subprocess.run(
        [LOADER, "--list", binary],
        env={**os.environ, "LD_LIBRARY_PATH": library_path},
        capture_output=True,
        text=True,
        check=False,
    )
    _, found, rest = listing.stderr.partition("error while loading shared libraries: ")
    return rest.split(":")[0] if found else ""


def libpython() -> str:
    """The file name of this interpreter's shared library."""
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def _package_of(library: str) -> str:
    if library == libpython():
        return f"libpython{sys.version_info.major}.{sys.version_info.minor}"
    return PACKAGES.get(library, library)
