"""The peers' own environment, in the cache: pinned packages, none of which enters the project's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from modelyard_server.cache import cache_dir, locked
from modelyard_server.errors import ServerError

PEERS = Path(__file__).parents[1] / "peer_servers"
REQUIREMENTS, CONSTRAINTS = PEERS / "requirements.txt", PEERS / "constraints.txt"


def python() -> Path:
    """The environment's interpreter; what is asked for the first time is installed.

    Raises:
        ServerError: pip cannot install it; its own words stand above.
    """
    folder = cache_dir() / "benchmarks" / f"peers-{_key()}"
    with locked(folder.with_suffix(".lock")):
        if not (folder / ".complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder)
            (folder / ".complete").touch()
    return folder / "bin" / "python"


def _key() -> str:
    """Of what is installed, and for which interpreter."""
    content = sys.version.encode() + REQUIREMENTS.read_bytes() + CONSTRAINTS.read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _make(folder: Path) -> None:
    print(f"installing the peers into {folder}", file=sys.stderr)
    venv.EnvBuilder(with_pip=False).create(folder)
    pip = [sys.executable, "-m", "pip", f"--python={folder / 'bin' / 'python'}", "install", "-qq"]
    flags = ["--disable-pip-version-check", f"--requirement={REQUIREMENTS}", f"--constraint={CONSTRAINTS}"]
    if subprocess.run([*pip, *flags], check=False).returncode:
        raise ServerError(f"the peers cannot be installed into {folder}: pip says why above")
