"""The models of a running Triton, honestly: what it says, joined with its log and its processes where it is ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from modelyard_server.built import expected, to_build, unbuilt
from modelyard_server.errors import ModelControlError, UnreachableError
from modelyard_server.log import load_failures, one_line, read_log, stub_failure
from modelyard_server.protocol import (
    LOAD_TIMEOUT_S,
    TIMEOUT_S,
    control_model,
    model_config,
    repository_index,
    server_metadata,
)
from modelyard_server.readiness import READY, UNAVAILABLE, ModelState, judge
from modelyard_server.state import RunningServer, server_at
from modelyard_server.stubs import StallWatch, dead_stubs, live_stubs

POLL_S = 0.1


def model_states(url: str, timeout_s: float = TIMEOUT_S) -> list[ModelState]:
    """The state of every version that the Triton at `url` ("host:port") serves or should serve.

    Raises:
        UnreachableError: nobody answers there, or somebody else than Triton.
    """
    server = server_at(url)
    return states_of(server, timeout_s) if server else judge((), repository_index(url, timeout_s), {}, {})


def states_of(server: RunningServer, timeout_s: float = TIMEOUT_S) -> list[ModelState]:
    """The same of a server of ours: with the reasons out of its log, and with what became of its processes.

    Raises:
        UnreachableError: it does not listen; while it starts, it does so once every model has had its turn.
    """
    index = repository_index(server.http_url, timeout_s)
    failures = load_failures(read_log(server.log_path))
    wanted = _expected(server)
    # Triton lists what it was never asked for, too.
    served = [row for row in index if row.name in wanted or row.state != UNAVAILABLE]
    return judge(wanted, served, failures, _dead(server, index))


def left_out(server: RunningServer) -> dict[str, str]:
    """The models of a server's repository that it does not serve because they are not built, with the reason."""
    if server.models:
        return {}
    try:
        return unbuilt(server.repository, server.config_name)
    except OSError:
        return {}


def load_model(url: str, name: str, timeout_s: float = LOAD_TIMEOUT_S) -> None:
    """Loads a model, or reloads it with what now stands in the repository, and waits until it serves.

    A server of ours that is still starting is waited for. Where this fails, what was loaded before keeps serving.

    Raises:
        ModelControlError: Triton did not load it; the message holds the reason, out of the log where Triton is ours.
        UnreachableError: nobody answers at `url` ("host:port").
    """
    _control(url, name, "load", timeout_s)


def unload_model(url: str, name: str, timeout_s: float = LOAD_TIMEOUT_S) -> None:
    """Takes a model out of service.

    Raises:
        ModelControlError: Triton refused; the message holds the reason.
        UnreachableError: nobody answers at `url` ("host:port").
    """
    _control(url, name, "unload", timeout_s)


def stall_message(server: RunningServer, log: str) -> str:
    """What to say of a Triton that waits for a Python process which is dead."""
    reason = stub_failure(log) or "it left no message; its own output is in the log"
    return (
        f"Triton waits forever for a Python process that died: {reason}. "
        f"Mend that model, stop the server and start it again. Its log: {server.log_path}"
    )


def _control(url: str, name: str, verb: str, timeout_s: float) -> None:
    server = server_at(url)
    if server:
        _check_built(server, name, verb)
        _wait_until_listening(server, timeout_s)
    offset = server.log_path.stat().st_size if server and server.log_path.exists() else 0
    try:
        control_model(url, name, verb, timeout_s, _stall_alarm(server, offset) if server else None)
    except ModelControlError as error:
        logged = load_failures(read_log(server.log_path, offset)) if server else {}
        reason = logged.get(name) or one_line(str(error))
        raise ModelControlError(f"Triton did not {verb} {name}: {reason}") from error


def _check_built(server: RunningServer, name: str, verb: str) -> None:
    """Triton's own words for it are about its version policy."""
    if verb != "load":
        return
    try:
        reason = unbuilt(server.repository, server.config_name).get(name)
    except OSError:
        return
    if reason:
        command = to_build(server.repository, [name], server.config_name)
        raise ModelControlError(f"{name} cannot be loaded: {reason}. Build it: {command}")


def _wait_until_listening(server: RunningServer, timeout_s: float) -> None:
    """A server of ours that is still starting listens once every model has had its turn."""
    deadline = time.monotonic() + timeout_s
    while server.is_alive() and time.monotonic() < deadline:
        try:
            server_metadata(server.http_url)
        except UnreachableError:
            time.sleep(POLL_S)
        else:
            return


def _stall_alarm(server: RunningServer, offset: int) -> Callable[[], None]:
    watch = StallWatch(server, dead_stubs(server))

    def alarm() -> None:
        if watch.is_stalled():
            raise ModelControlError(stall_message(server, read_log(server.log_path, offset)))

    return alarm


def _expected(server: RunningServer) -> set[str]:
    """The models that a server is to serve as its repository now stands; none where that is gone meanwhile."""
    try:
        return expected(server.repository, server.models, server.config_name)
    except OSError:
        return set()


def _dead(server: RunningServer, index: Iterable[ModelState]) -> dict[tuple[str, str], str]:
    """For each version that has lost Python processes, how many."""
    if not dead_stubs(server):
        return {}
    live = live_stubs(server)
    wanted = {(row.name, row.version): _instances(server, row) for row in index if row.state == READY}
    return {
        key: f"{count - live[key]} of {count} Python processes of this version died"
        for key, count in wanted.items()
        if live[key] < count
    }


def _instances(server: RunningServer, row: ModelState) -> int:
    """How many Python processes a version needs; none for an ensemble."""
    try:
        config = model_config(server.http_url, row.name, row.version)
    except UnreachableError:  # unloaded since
        return 0
    return sum(int(group["count"]) for group in config.get("instance_group", []))
