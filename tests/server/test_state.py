"""What is written down of running servers, and what is done about those that died."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from modelyard_server.cleanup import (
    SHARED_MEMORY,
    backend_folder,
    kill_processes,
    region_prefix,
    stop_server,
    sweep,
)
from modelyard_server.state import (
    MARK_VARIABLE,
    RunningServer,
    read_states,
    remove_state,
    running_servers,
    state_path,
    write_state,
)

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def server(tmp_path: Path) -> RunningServer:
    """A server whose supervisor is this very process."""
    return RunningServer(
        id=f"test{os.getpid()}",
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        repository=tmp_path / "repository",
        config_name=None,
        http_url="127.0.0.1:18000",
        grpc_url="127.0.0.1:18001",
        metrics_url="127.0.0.1:18002",
        log_path=tmp_path / "18000.log",
        exit_timeout_s=1,
    )


@pytest.fixture
def leftover(server: RunningServer) -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries the server's mark."""
    process = subprocess.Popen(SLEEP, env={**os.environ, MARK_VARIABLE: server.id})
    yield process
    process.kill()
    process.wait()


def test_what_is_written_is_read(tmp_path: Path, server: RunningServer) -> None:
    """A server is found again as it was written down, by its repository or without."""
    write_state(tmp_path, server)
    assert running_servers(folder=tmp_path) == [server]
    assert running_servers(server.repository, tmp_path) == [server]
    assert running_servers(tmp_path / "another", tmp_path) == []


def test_a_pid_that_was_given_to_another_process_is_not_the_server(tmp_path: Path, server: RunningServer) -> None:
    """A process with the same pid and another start time is somebody else."""
    write_state(tmp_path, replace(server, created=server.created - 60))
    assert running_servers(folder=tmp_path) == []


def test_a_dead_supervisor_is_not_running(tmp_path: Path, server: RunningServer) -> None:
    """Neither a pid that is gone nor a zombie counts as running."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    dead = replace(server, pid=process.pid, created=psutil.Process(process.pid).create_time())
    psutil.Process(process.pid).wait(10)
    write_state(tmp_path, dead)
    assert running_servers(folder=tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "x"}', '{"repository": 1, "log_path": 2}'])
def test_a_broken_file_is_no_server(tmp_path: Path, server: RunningServer, text: str) -> None:
    """What cannot be read does not keep the others from being read."""
    state_path(tmp_path, 1).write_text(text)
    write_state(tmp_path, server)
    assert read_states(tmp_path) == [server]


def test_a_successor_on_the_same_port_keeps_its_file(tmp_path: Path, server: RunningServer) -> None:
    """Removing a server's file does not remove that of another which took the port since."""
    successor = replace(server, id="successor")
    write_state(tmp_path, successor)
    remove_state(tmp_path, server)
    assert read_states(tmp_path) == [successor]


def test_a_sweep_ends_and_removes_what_a_dead_server_left(
    tmp_path: Path, server: RunningServer, leftover: subprocess.Popen[bytes]
) -> None:
    """Processes with its mark, its regions, its backend directory and its file go."""
    region = SHARED_MEMORY / f"{region_prefix(server.id)}region"
    region.touch()
    backend_folder(tmp_path, server.id).mkdir()
    write_state(tmp_path, replace(server, created=0.0))
    sweep(tmp_path)
    assert not psutil.pid_exists(leftover.pid)
    assert not region.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_spares_the_living_and_other_peoples_regions(
    tmp_path: Path, server: RunningServer, leftover: subprocess.Popen[bytes]
) -> None:
    """A server whose supervisor lives is left alone, and so is every region with another prefix."""
    region = SHARED_MEMORY / f"{region_prefix(server.id)[:-1]}x_somebody_elses"
    region.touch()
    write_state(tmp_path, server)
    write_state(tmp_path, replace(server, id="dead", created=0.0, http_url="127.0.0.1:18010"))
    try:
        sweep(tmp_path)
        assert leftover.poll() is None
        assert region.exists()
        assert read_states(tmp_path) == [server]
    finally:
        region.unlink()


def test_old_logs_are_removed(tmp_path: Path, server: RunningServer) -> None:
    """A log of a server that is gone stays for a week, so that its end can be looked into."""
    for name, age_days in (("1.log", 8), ("2.log", 6), (server.log_path.name, 8)):
        (tmp_path / name).touch()
        written = time.time() - age_days * 86_400
        os.utime(tmp_path / name, (written, written))
    write_state(tmp_path, server)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.log")) == [server.log_path.name, "2.log"]


def test_killing_by_mark_spares_the_unmarked(server: RunningServer, leftover: subprocess.Popen[bytes]) -> None:
    """Only processes of that very server are killed."""
    other = subprocess.Popen(SLEEP, env={**os.environ, MARK_VARIABLE: "another"})
    try:
        kill_processes(server.id)
        assert not psutil.pid_exists(leftover.pid)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_stopping_a_server_that_is_gone_already(tmp_path: Path, server: RunningServer) -> None:
    """It is no error, and its file goes."""
    write_state(tmp_path, replace(server, created=0.0))
    stop_server(replace(server, created=0.0), tmp_path)
    assert read_states(tmp_path) == []
