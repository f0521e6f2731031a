"""Leaves nothing behind: the processes, shared-memory regions and files of a server that ended, however it ended."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil

from modelyard_server.state import MARK_VARIABLE, RunningServer, read_states, remove_state

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where the kernel keeps POSIX shared memory
KILL_WAIT_S = 10.0
STOP_MARGIN_S = 15.0
"""Seconds that a supervisor gets beyond the time for running inferences: to unload the models, and to kill."""

LOG_DAYS = 7


def region_prefix(server_id: str) -> str:
    """What the names of a server's shared-memory regions begin with.

    `--backend-config=python,shm-region-prefix-name=…` sets it; it holds for Python-based backends too.
    """
    return f"modelyard_{server_id}_"


def backend_folder(folder: Path, server_id: str) -> Path:
    """The backend directory that was composed for a server."""
    return folder / f"{server_id}.backends"


def stop_server(server: RunningServer, folder: Path) -> None:
    """Lets a server finish the inferences that run, ends it, and leaves nothing of it behind."""
    try:
        supervisor = psutil.Process(server.pid)
        if server.is_alive():
            supervisor.terminate()
            supervisor.wait(server.exit_timeout_s + STOP_MARGIN_S)
    except psutil.Error:  # it is gone already, or takes too long
        pass
    finally:
        clean_up(folder, server)


def clean_up(folder: Path, server: RunningServer) -> None:
    """Ends what is left of a server and removes what it left; harmless where nothing is."""
    kill_processes(server.id)
    remove_leftovers(folder, server.id)
    remove_state(folder, server)


def remove_leftovers(folder: Path, server_id: str) -> None:
    """Removes the shared-memory regions and the backend directory of a server that has no process any more."""
    for region in SHARED_MEMORY.glob(f"{region_prefix(server_id)}*"):
        region.unlink(missing_ok=True)
    shutil.rmtree(backend_folder(folder, server_id), ignore_errors=True)


def sweep(folder: Path) -> None:
    """Cleans up after every server whose supervisor died without doing so, and removes logs that grew old."""
    for server in read_states(folder):
        if not server.is_alive():
            clean_up(folder, server)
    known = {server.log_path for server in read_states(folder)}
    for log in set(folder.glob("*.log")) - known:
        with suppress(FileNotFoundError):  # another sweep was quicker
            if log.stat().st_mtime < time.time() - LOG_DAYS * 86_400:
                log.unlink()


def kill_processes(server_id: str) -> None:
    """Kills every process of a server, other than the calling one, and waits for their end."""
    processes = processes_of(server_id)
    for process in processes:
        try:
            process.kill()
        except psutil.Error:  # it ended meanwhile
            continue
    psutil.wait_procs(processes, timeout=KILL_WAIT_S)


def processes_of(server_id: str) -> list[psutil.Process]:
    """The processes of a server: those that inherited its mark, other than the calling one."""
    return [
        process for process in psutil.process_iter() if process.pid != os.getpid() and _mark_of(process) == server_id
    ]


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK_VARIABLE)
    except (psutil.Error, OSError):  # another user's, or gone
        return None
