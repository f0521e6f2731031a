"""The embedded Triton: start, ready, drain, stop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import final

import psutil

from modelyard_server.cache import locked, make_folder
from modelyard_server.cleanup import backend_folder, clean_up, region_prefix, sweep
from modelyard_server.control import READY, repository_index
from modelyard_server.errors import ModelsNotReadyError, ReadyTimeoutError, ServerDiedError, UnreachableError
from modelyard_server.install import Triton, install_triton
from modelyard_server.state import MARK_VARIABLE, RunningServer, run_dir, write_state
from modelyard_server.supervisor import DRAIN_MARGIN_S
from modelyard_server.wheels import Progress, no_progress

LOOPBACK = "127.0.0.1"
BACKENDS = Path(__file__).parent / "backends"
POLL_S = 0.05


@dataclass(frozen=True)
class ServerOptions:
    """What is served, and where.

    Attributes:
        config_name: serve `<model>/configs/<config_name>.pbtxt` where it stands.
        exit_timeout_s: how long running inferences may take once the server was told to stop.
        response_cache_bytes: of the cache for models whose config asks for it.
    """

    repository: Path
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    config_name: str | None = None
    exit_timeout_s: int = 15
    response_cache_bytes: int = 64 << 20


@final
class TritonServer:
    """An embedded Triton over one model repository, listening on loopback only.

    As a context manager it starts, waits until every model is ready, and on leaving drains and stops.

    Args:
        options: what is served, and where.
        detached: the server outlives this process; otherwise it ends with it, however this process ends.
        progress: called while Triton is installed, the first time.
    """

    def __init__(self, options: ServerOptions, *, detached: bool = False, progress: Progress = no_progress) -> None:
        self.options = options
        self.folder = run_dir()
        self.log_path = self.folder / f"{options.http_port}.log"
        self._detached = detached
        self._progress = progress
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._state: RunningServer | None = None
        self._lifeline: int | None = None

    @property
    def http_url(self) -> str:
        """The address as host:port."""
        return f"{LOOPBACK}:{self.options.http_port}"

    @property
    def grpc_url(self) -> str:
        """The address as host:port."""
        return f"{LOOPBACK}:{self.options.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """The address as host:port."""
        return f"{LOOPBACK}:{self.options.metrics_port}"

    def __enter__(self) -> TritonServer:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts Triton and returns at once."""
        triton = install_triton(progress=self._progress)
        make_folder(self.folder)
        with locked(self.folder / "run.lock"):
            sweep(self.folder)
            self._launch(triton)

    def _launch(self, triton: Triton) -> None:
        server_id = uuid.uuid4().hex[:12]
        backends = compose_backends(triton, backend_folder(self.folder, server_id))
        command = [sys.executable, "-m", "modelyard_server.supervisor"]
        command += [f"--folder={self.folder}", f"--exit-timeout={self.options.exit_timeout_s}"]
        environment = server_environment(triton, server_id)
        with ExitStack() as stack:
            log = stack.enter_context(self.log_path.open("wb"))
            inherited = []
            if not self._detached:
                reader, self._lifeline = os.pipe()
                stack.callback(os.close, reader)
                inherited.append(reader)
                command.append(f"--lifeline={reader}")
            command += ["--", *triton_command(triton, self.options, backends, server_id)]
            self._supervisor = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=inherited,
                start_new_session=True,
            )
        self._state = RunningServer(
            id=server_id,
            pid=self._supervisor.pid,
            created=psutil.Process(self._supervisor.pid).create_time(),
            repository=self.options.repository.resolve(),
            config_name=self.options.config_name,
            http_url=self.http_url,
            grpc_url=self.grpc_url,
            metrics_url=self.metrics_url,
            log_path=self.log_path,
        )
        write_state(self.folder, self._state)

    def wait_ready(self, timeout_s: float = 300.0) -> None:
        """Waits until every model is ready."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._supervisor is None or self._supervisor.poll() is not None:
                raise ServerDiedError(f"Triton ended while it started; see {self.log_path}")
            try:
                rows = repository_index(self.http_url)
            except UnreachableError:
                time.sleep(POLL_S)
                continue
            failed = {row.name: row.reason for row in rows if row.state != READY}
            if failed:
                raise ModelsNotReadyError(f"not ready: {failed}; see {self.log_path}", failed)
            return
        raise ReadyTimeoutError(f"Triton is not ready after {timeout_s:g} s; see {self.log_path}")

    def stop(self) -> None:
        """Drains and stops; returns when no process and no shared memory of the server is left."""
        if self._supervisor is None or self._state is None:
            return
        self._supervisor.terminate()
        try:
            self._supervisor.wait(self.options.exit_timeout_s + 2 * DRAIN_MARGIN_S)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        clean_up(self.folder, self._state)
        if self._lifeline is not None:
            os.close(self._lifeline)
        self._supervisor = self._state = self._lifeline = None


def compose_backends(triton: Triton, folder: Path) -> Path:
    """Makes a backend directory: Triton's Python backend, and this package's backends over it."""
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(triton.python_backend)
    for model in BACKENDS.glob("*/model.py"):
        (folder / model.parent.name).symlink_to(model.parent)
    return folder


def triton_command(triton: Triton, options: ServerOptions, backends: Path, server_id: str) -> list[str]:
    """Tritonserver's command line."""
    command = [
        str(triton.tritonserver),
        f"--model-repository={options.repository.resolve()}",
        f"--backend-directory={backends}",
        f"--cache-directory={triton.caches}",
        f"--cache-config=local,size={options.response_cache_bytes}",
        f"--http-address={LOOPBACK}",
        f"--http-port={options.http_port}",
        f"--grpc-address={LOOPBACK}",
        f"--grpc-port={options.grpc_port}",
        f"--metrics-address={LOOPBACK}",
        f"--metrics-port={options.metrics_port}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--exit-on-error=false",
        "--strict-readiness=true",
        f"--exit-timeout-secs={options.exit_timeout_s}",
        f"--backend-config=python,shm-region-prefix-name={region_prefix(server_id)}",
        "--log-format=ISO8601",
    ]
    return command + ([f"--model-config-name={options.config_name}"] if options.config_name else [])


def server_environment(triton: Triton, server_id: str) -> dict[str, str]:
    """The environment of Triton and of its Python processes."""
    import sysconfig

    libraries = [str(sysconfig.get_config_var("LIBDIR")), str(triton.library_path)]
    return {
        **os.environ,
        MARK_VARIABLE: server_id,
        # A stub finds the standard library and the packages through the first python3 on PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PYTHONDONTWRITEBYTECODE": "1",  # a version folder holds what was published, and nothing else
        "PYTHONUNBUFFERED": "1",
    }


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind((LOOPBACK, 0))
        return [int(opened.getsockname()[1]) for opened in sockets]
