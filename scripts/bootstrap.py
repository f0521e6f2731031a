"""Makes the project's virtual environment on a machine that has Python and pip, and says what it does.

Runs before anything is installed: standard library only.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "build,server,openvino,tensorrt-rtx,dev"
SUPPORTED = ((3, 10), (3, 13))


def check_python() -> None:
    """Stops on an interpreter for which the tested packages do not exist."""
    if not SUPPORTED[0] <= sys.version_info[:2] < SUPPORTED[1]:
        sys.exit(
            f"error: this is Python {sys.version.split()[0]}; Modelyard runs on 3.10, 3.11 and 3.12. "
            "Name another with: make demo PYTHON=python3.11"
        )


def check_libpython() -> None:
    """Stops before minutes of downloads where Triton's Python backend could not start in the end."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    library = f"libpython{version}.so.1.0"
    if (Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib") / library).exists():
        return
    try:
        ctypes.CDLL(library)
    except OSError:
        sys.exit(
            f"error: this machine has no {library}, which Triton's Python backend loads. "
            f"On Debian and Ubuntu: apt-get install libpython{version}"
        )


def make_venv(target: Path) -> None:
    """Makes the environment; where Debian's python3-venv is absent, pip brings virtualenv to do it."""
    if importlib.util.find_spec("ensurepip"):
        venv.EnvBuilder(with_pip=True, clear=True).create(target)
        return
    with tempfile.TemporaryDirectory() as tools:
        run([sys.executable, "-m", "pip", "install", "-qq", "--target", tools, "virtualenv"])
        run([sys.executable, "-m", "virtualenv", "--quiet", str(target)], {"PYTHONPATH": tools})


def run(command: list[str], extra_environment: dict[str, str] | None = None) -> None:
    """Runs one step; where it fails, its own output is the explanation."""
    done = subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, **(extra_environment or {})})
    if done.returncode != 0:
        sys.exit(f"error: this step failed (its reason is above): {' '.join(command)}")


def main() -> None:
    """Environment, then the project with its extras under the tested versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("pip_flags", nargs="*")
    arguments = parser.parse_args()
    check_python()
    check_libpython()
    started = time.monotonic()
    target = arguments.venv if arguments.venv.is_absolute() else ROOT / arguments.venv
    print(f"environment: Python {sys.version.split()[0]} in {arguments.venv}", flush=True)
    if not (target / "bin" / "pip").exists():
        make_venv(target)
    print("environment: installing PyTorch, ONNX, Triton's client and the tools (a minute or two)", flush=True)
    flags = ["-qq", "--disable-pip-version-check", "--constraint", "constraints.txt", *arguments.pip_flags]
    run([str(target / "bin" / "python"), "-m", "pip", "install", *flags, "--editable", f".[{EXTRAS}]"])
    print(f"environment: ready after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
