"""Everything that building and serving need of this machine: one function a check, one explicit list."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from modelyard_server import built, checks
from modelyard_server.cache import cache_dir
from modelyard_server.errors import PreflightError
from modelyard_server.install import install_triton, is_perf_analyzer_installed, is_triton_installed
from modelyard_server.libraries import check_libraries
from modelyard_server.ports import check_ports
from modelyard_server.state import read_states, run_dir, running_servers

GIB = 1 << 30
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where the kernel keeps POSIX shared memory
MIN_SHARED_MEMORY = 256 << 20
MIN_DISK, COMFORTABLE_DISK = GIB // 2, 4 * GIB
DEFAULT_PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
PACKAGES = {
    "build": ("torch", "onnx", "onnxscript", "onnxruntime", "transformers", "tokenizers", "safetensors"),
    "server": ("psutil", "onnxruntime", "tokenizers"),
}


class Verdict(str, Enum):
    """What a check found: in order, something to know, something that will fail."""

    ok = "ok"
    warn = "warn"
    fail = "fail"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        subject: what was looked at.
        detail: what was found, and the way out where it is not ok.
    """

    subject: str
    verdict: Verdict
    detail: str


def diagnose(repository: Path) -> list[Finding]:
    """Runs every check; none changes anything, and none needs the network."""
    return [check(repository) for check in CHECKS]


def _platform(_: Path) -> Finding:
    return _preflight("platform", checks.check_platform, f"Linux x86_64, glibc {_dotted(checks.glibc_version())}")


def _python(_: Path) -> Finding:
    return _preflight("Python", checks.check_python, f"{sys.version.split()[0]} in {sys.prefix}")


def _numpy(_: Path) -> Finding:
    return _preflight("numpy", checks.check_numpy, _version("numpy"))


def _pip(_: Path) -> Finding:
    if _version("pip"):
        return Finding("pip", Verdict.ok, _version("pip"))
    return Finding(
        "pip", Verdict.fail, "not in this environment, and Triton is fetched with it. Run: python -m ensurepip"
    )


def _server_packages(_: Path) -> Finding:
    return _packages("server")


def _build_packages(_: Path) -> Finding:
    return _packages("build")


def _cache(_: Path) -> Finding:
    folder = _existing(cache_dir())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        way_out = f"{folder} cannot be written. Name another cache folder in MODELYARD_CACHE."
        return Finding("cache", Verdict.fail, way_out)
    free = shutil.disk_usage(folder).free
    verdict = Verdict.fail if free < MIN_DISK else Verdict.warn if free < COMFORTABLE_DISK else Verdict.ok
    way_out = "" if verdict == Verdict.ok else "; Triton, the weights and the versions want 4 GiB. Free some space."
    return Finding("cache", verdict, f"{cache_dir()}, {free / GIB:.1f} GiB free{way_out}")


def _triton(_: Path) -> Finding:
    if not is_triton_installed():
        return Finding("Triton", Verdict.warn, "not installed yet; `modelyard serve` fetches it (55 MB) the first time")
    triton = install_triton()
    return _preflight("Triton", lambda: check_libraries(triton), f"{triton.version} in {triton.root}")


def _perf_analyzer(_: Path) -> Finding:
    if is_perf_analyzer_installed():
        return Finding("perf_analyzer", Verdict.ok, "installed")
    return Finding(
        "perf_analyzer", Verdict.warn, "not installed yet; `modelyard perf` fetches it (14 MB) the first time"
    )


def _shared_memory(_: Path) -> Finding:
    usage = shutil.disk_usage(SHARED_MEMORY)
    free = f"{usage.free / (1 << 20):.0f} MiB of {usage.total / (1 << 20):.0f} MiB free"
    if usage.free >= MIN_SHARED_MEMORY:
        return Finding("shared memory", Verdict.ok, free)
    way_out = f"{free}; large batches need more. In a container, start it with --shm-size=1g."
    return Finding("shared memory", Verdict.warn, way_out)


def _ports(_: Path) -> Finding:
    ours = {int(url.rpartition(":")[2]) for server in running_servers() for url in server.urls}
    ports = {name: port for name, port in DEFAULT_PORTS.items() if port not in ours}
    finding = _preflight("ports", lambda: check_ports(ports), ", ".join(str(port) for port in DEFAULT_PORTS.values()))
    return Finding("ports", Verdict.warn, finding.detail) if finding.verdict == Verdict.fail else finding


def _servers(_: Path) -> Finding:
    dead = [server for server in read_states(run_dir()) if not server.is_alive()]
    if dead:
        ports = ", ".join(str(server.http_port) for server in dead)
        return Finding("servers", Verdict.warn, f"died without cleaning up: {ports}. Run: modelyard stop --all")
    running = ", ".join(server.http_url for server in running_servers())
    return Finding("servers", Verdict.ok, running or "none runs")


def _repository(repository: Path) -> Finding:
    finding = _preflight("repository", lambda: checks.check_repository(repository), str(repository.absolute()))
    if finding.verdict == Verdict.fail:
        return Finding("repository", Verdict.warn, finding.detail)
    models, missing = built.model_folders(repository), built.unbuilt(repository)
    if not missing:
        return Finding("repository", Verdict.ok, f"{finding.detail}, all {len(models)} models built")
    command = "modelyard build" if len(missing) == len(models) else built.to_build(repository, missing)
    detail = f"{finding.detail}, {len(models) - len(missing)} of {len(models)} models built; for the others: {command}"
    return Finding("repository", Verdict.ok if len(missing) < len(models) else Verdict.warn, detail)


CHECKS: tuple[Callable[[Path], Finding], ...] = (
    _platform,
    _python,
    _numpy,
    _pip,
    _server_packages,
    _build_packages,
    _cache,
    _triton,
    _perf_analyzer,
    _shared_memory,
    _ports,
    _servers,
    _repository,
)


def _preflight(subject: str, check: Callable[[], Any], found: str) -> Finding:
    """The outcome of a check that a start makes, too."""
    try:
        check()
    except PreflightError as error:
        return Finding(subject, Verdict.fail, str(error))
    return Finding(subject, Verdict.ok, found)


def _packages(extra: str) -> Finding:
    missing = [name for name in PACKAGES[extra] if not _version(name)]
    if missing:
        way_out = f"not installed: {', '.join(missing)}. Run: pip install 'modelyard[{extra}]'"
        return Finding(f"extra {extra}", Verdict.fail, way_out)
    return Finding(f"extra {extra}", Verdict.ok, ", ".join(f"{name} {_version(name)}" for name in PACKAGES[extra]))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    return folder if folder.exists() else _existing(folder.parent)


def _dotted(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))
