"""The embedded Triton: start, ready, drain, stop."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from types import TracebackType
from typing import final

import psutil

from modelyard_server.built import config_text
from modelyard_server.cache import cannot_write, locked, make_folder
from modelyard_server.checks import (
    check_config_name,
    check_models,
    check_numpy,
    check_platform,
    check_python,
    check_repository,
)
from modelyard_server.cleanup import backend_folder, kill_processes, remove_leftovers, stop_server, sweep
from modelyard_server.control import stall_message, states_of
from modelyard_server.errors import (
    ModelsNotReadyError,
    PortInUseError,
    ReadyTimeoutError,
    ServerDiedError,
    StartError,
    UnreachableError,
)
from modelyard_server.install import Triton, install_triton
from modelyard_server.launch import (
    ServerOptions,
    compose_backends,
    spawn_supervisor,
    triton_command,
    triton_environment,
)
from modelyard_server.libraries import check_libraries
from modelyard_server.log import last_errors, read_log, still_loading
from modelyard_server.ports import LOOPBACK, check_ports, free_ports
from modelyard_server.readiness import LOADING, ModelState, not_ready
from modelyard_server.state import RunningServer, read_states, run_dir, write_state
from modelyard_server.stubs import StallWatch
from modelyard_server.wheels import Progress, no_progress

__all__ = ["ServerOptions", "TritonServer", "free_ports"]

READY_TIMEOUT_S = 300.0
POLL_S = 0.05


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
        self.http_url, self.grpc_url, self.metrics_url = (f"{LOOPBACK}:{port}" for port in options.ports.values())
        self._folder = run_dir()
        self.log_path = self._folder / f"{options.http_port}.log"
        self._detached = detached
        self._progress = progress
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._state: RunningServer | None = None
        self._lifeline: int | None = None

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

    @property
    def state(self) -> RunningServer:
        """What is written down of this server.

        Raises:
            StartError: it was not started, or was stopped.
        """
        if self._state is None:
            raise StartError("this server is not started. Call start() first.")
        return self._state

    def start(self) -> None:
        """Starts Triton and returns at once; `wait_ready` waits for it.

        Raises:
            PreflightError: this machine, or what was asked for, cannot be served.
            InstallError: Triton cannot be had.
            ServerError: the disk is full, or the cache folder cannot be written.
        """
        check_platform()
        check_python()
        check_numpy()
        check_repository(self.options.repository)
        check_config_name(self.options.repository, self.options.config_name)
        check_models(self.options.repository, self.options.models, self.options.config_name)
        triton = install_triton(progress=self._progress)
        check_libraries(triton)
        make_folder(self._folder)
        with locked(self._folder / "run.lock"):  # two that start on one port must see each other
            sweep(self._folder)
            self._check_claims()
            check_ports(self.options.ports)
            self._launch(triton)

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> list[ModelState]:
        """Waits until every model that is to be served is; returns their states.

        Raises:
            ModelsNotReadyError: Triton runs, but a model did not load; the message holds the reasons.
            ServerDiedError: Triton ended; the message holds the reason.
            StartError: Triton hangs.
            ReadyTimeoutError: it takes longer than `timeout_s`.
        """
        watch, deadline = StallWatch(self.state), time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            states = self._states_now()
            if states is not None and all(row.state != LOADING for row in states):
                return self._ready(states)
            if watch.is_stalled():
                raise StartError(stall_message(self.state, read_log(self.log_path)))
            time.sleep(POLL_S)
        loading = ", ".join(still_loading(read_log(self.log_path))) or "nothing that its log names"
        raise ReadyTimeoutError(
            f"Triton is not ready after {timeout_s:g} s; still loading: {loading}. Its log: {self.log_path}"
        )

    def wait(self) -> None:
        """Waits until the server ends because somebody stopped it.

        Raises:
            ServerDiedError: it ended by itself; the message holds the reason.
        """
        if self._supervisor is not None and self._supervisor.wait() != 0:
            raise self._died()

    def stop(self) -> None:
        """Drains and stops; returns when no process and no shared memory of the server is left.

        An interruption meanwhile (Ctrl-C) ends the draining, not the cleaning up.
        """
        if self._supervisor is None or self._state is None:
            return
        try:
            stop_server(self._state, self._folder)
        finally:
            self._supervisor.wait()
            self._cut_lifeline()
            self._supervisor = self._state = None

    def _check_claims(self) -> None:
        """A server of ours that is still loading does not listen yet, but its ports are taken."""
        wanted = {self.http_url, self.grpc_url, self.metrics_url}
        for other in read_states(self._folder):
            taken = sorted(wanted & set(other.urls))
            if taken:
                raise PortInUseError(
                    f"port {taken[0].rpartition(':')[2]} belongs to the embedded Triton over {other.repository}. "
                    f"Stop it with `modelyard stop --http-port {other.http_port}`, or choose other ports."
                )

    def _launch(self, triton: Triton) -> None:
        server_id = uuid.uuid4().hex[:12]
        backends = backend_folder(self._folder, server_id)
        command = triton_command(triton, self.options, backends, server_id)
        try:
            compose_backends(triton, self.options, backends)
            supervisor = self._spawn(command, triton_environment(triton, self.options, server_id))
            state = self._described(server_id, supervisor.pid)
            write_state(self._folder, state)
        except BaseException as error:  # Ctrl-C included: what was spawned is found by its mark
            kill_processes(server_id)
            remove_leftovers(self._folder, server_id)
            self._cut_lifeline()
            if not isinstance(error, OSError):
                raise
            raise cannot_write(self._folder, error) from error
        self._supervisor, self._state = supervisor, state

    def _spawn(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Starts the supervisor; it holds the other end of a pipe that this process keeps open while it lives."""
        if self._detached:
            return spawn_supervisor(self._folder, self.options, self.log_path, command, environment)
        reader, self._lifeline = os.pipe()
        try:
            return spawn_supervisor(self._folder, self.options, self.log_path, command, environment, reader)
        finally:
            os.close(reader)

    def _cut_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
        self._lifeline = None

    def _described(self, server_id: str, pid: int) -> RunningServer:
        return RunningServer(
            id=server_id,
            pid=pid,
            created=psutil.Process(pid).create_time(),
            repository=self.options.repository.resolve(),
            config_name=self.options.config_name,
            models=self.options.models,
            http_url=self.http_url,
            grpc_url=self.grpc_url,
            metrics_url=self.metrics_url,
            log_path=self.log_path,
            exit_timeout_s=self.options.exit_timeout_s,
        )

    def _states_now(self) -> list[ModelState] | None:
        """The models' states; None while Triton does not listen yet, which it does once all models had their turn."""
        if self._supervisor is not None and self._supervisor.poll() is not None:
            raise self._died()
        try:
            return states_of(self.state)
        except UnreachableError:
            return None

    def _ready(self, states: list[ModelState]) -> list[ModelState]:
        reasons = not_ready(states)
        if not reasons:
            return states
        lines = "".join(f"\n  {name}: {reason}" for name, reason in reasons.items())
        count = len({row.name for row in states})
        raise ModelsNotReadyError(
            f"{len(reasons)} of {count} models did not load:{lines}\nTriton's log: {self.log_path}", reasons
        )

    def _died(self) -> ServerDiedError:
        killed = self._supervisor is not None and self._supervisor.returncode < 0
        reason = "its supervisor was killed" if killed else self._reason(read_log(self.log_path))
        return ServerDiedError(f"Triton ended: {reason}. Its log: {self.log_path}")

    def _reason(self, log: str) -> str:
        """What the log complains of, what was being loaded, and why that may have been the end."""
        reason, loading = last_errors(log), still_loading(log)
        if not loading:
            return reason
        options = self.options
        texts = {name: config_text(options.repository / name, options.config_name) for name in loading}
        warmed = [name for name, text in texts.items() if "SIGSEGV" in reason and "model_warmup" in text]
        cause = (
            ". A warmup sample that its model fails with ends Triton so, every second time or so: try without "
            f"model_warmup in the config.pbtxt of {', '.join(warmed)}"
        )
        return f"{reason}, while it loaded {', '.join(loading)}{cause if warmed else ''}"
