"""What is written down of a running server, so that a later command finds it: `<cache>/run/<host>/<http_port>.json`.

A server is recognised by its supervisor's pid and start time (a pid alone is used again), and each of its processes
by an environment variable that they inherit.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from modelyard_server.cache import cache_dir

MARK_VARIABLE = "MODELYARD_SERVER"
"""In the environment of every process of a server: the server's id."""

START_TOLERANCE_S = 0.05


@dataclass(frozen=True)
class RunningServer:
    """An embedded Triton that this user started and that is still there.

    Attributes:
        id: of this run; marks its processes and its shared-memory regions.
        pid: of its supervisor, which ends the server when it gets SIGTERM.
        created: when that process was started, in seconds since the epoch.
        repository: absolute.
        config_name: the value of `--model-config-name`.
        http_url: host:port, as the others.
        exit_timeout_s: how long running inferences may take once the server was told to stop.
        models: what it was asked to serve; empty: all that is built.
    """

    id: str
    pid: int
    created: float
    repository: Path
    config_name: str | None
    http_url: str
    grpc_url: str
    metrics_url: str
    log_path: Path
    exit_timeout_s: int
    models: tuple[str, ...] = ()

    @property
    def http_port(self) -> int:
        """The port that names this server."""
        return int(self.http_url.rpartition(":")[2])

    @property
    def urls(self) -> tuple[str, str, str]:
        """Where it listens: HTTP, gRPC, metrics."""
        return self.http_url, self.grpc_url, self.metrics_url

    def is_alive(self) -> bool:
        """Whether its supervisor still runs."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.created) < START_TOLERANCE_S
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


def run_dir(cache: Path | None = None) -> Path:
    """The folder of what is known of this host's running servers, and of their logs.

    One for each host: a home folder may be shared, and a pid of another host says nothing here.
    """
    return (cache or cache_dir()) / "run" / socket.gethostname()


def running_servers(repository: Path | None = None, folder: Path | None = None) -> list[RunningServer]:
    """The embedded servers of this user that run on this host, by HTTP port.

    Args:
        repository: only those that serve this model repository.
        folder: where they are written down; `run_dir()` by default.
    """
    alive = [server for server in read_states(folder or run_dir()) if server.is_alive()]
    return [server for server in alive if repository is None or server.repository == repository.resolve()]


def server_at(http_url: str) -> RunningServer | None:
    """The embedded server of this user that listens at a URL, if one does."""
    return next((server for server in running_servers() if server.http_url == http_url), None)


def state_path(folder: Path, http_port: int) -> Path:
    """The file that describes the server on a port."""
    return folder / f"{http_port}.json"


def write_state(folder: Path, server: RunningServer) -> None:
    """Writes a server down, in one step."""
    path = state_path(folder, server.http_port)
    staging = path.with_suffix(".staging")
    try:
        staging.write_text(json.dumps(asdict(server), indent=2, default=str))
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def read_states(folder: Path) -> list[RunningServer]:
    """Every server that was written down, alive or not, by port; what cannot be read is none."""
    found = [_read(path) for path in folder.glob("*.json")]
    return sorted((server for server in found if server), key=lambda server: server.http_port)


def remove_state(folder: Path, server: RunningServer) -> None:
    """Removes what stands of a server, unless another has taken its port since."""
    path = state_path(folder, server.http_port)
    current = _read(path)
    if current and current.id == server.id:
        path.unlink(missing_ok=True)


def _read(path: Path) -> RunningServer | None:
    try:
        fields: dict[str, Any] = json.loads(path.read_text())
        paths = {name: Path(fields[name]) for name in ("repository", "log_path")}
        return RunningServer(**{**fields, **paths, "models": tuple(fields.get("models", ()))})
    except (OSError, ValueError, KeyError, TypeError):
        return None
