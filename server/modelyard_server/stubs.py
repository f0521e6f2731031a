"""The Python processes ("stubs") of a server's models: one for each instance of each version that it serves.

Triton 2.51 does not watch them. A model whose stub was killed stays READY while its inferences fail; and where a stub
dies before its first message, Triton waits for that message forever, with all other models.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Set as AbstractSet
from pathlib import Path

import psutil

from modelyard_server.state import RunningServer

STUB = "triton_python_backend_stub"
MODEL_PATH_ARGUMENT = 1
STALL_S = 5.0
"""A stub that ended in an orderly way is reaped by Triton at once."""


def live_stubs(server: RunningServer) -> Counter[tuple[str, str]]:
    """For each model and version, how many Python processes it has."""
    return Counter(
        found for process in _descendants(server) if (found := _model_of(process)) and not _is_zombie(process)
    )


def dead_stubs(server: RunningServer) -> set[int]:
    """The pids of Python processes that died and that Triton did not notice."""
    return {process.pid for process in _descendants(server) if _is_zombie(process)}


class StallWatch:
    """Notices that Triton waits for a Python process which is dead.

    Args:
        server: the server that is starting, or that was asked to load a model.
        before: the processes that were dead before that.
    """

    def __init__(self, server: RunningServer, before: AbstractSet[int] = frozenset()) -> None:
        self._server = server
        self._before = before
        self._since: dict[int, float] = {}

    def is_stalled(self) -> bool:
        """Whether a process died meanwhile, and Triton has not noticed for `STALL_S` seconds."""
        now = time.monotonic()
        dead = dead_stubs(self._server) - self._before
        self._since = {pid: self._since.get(pid, now) for pid in dead}
        return any(now - since > STALL_S for since in self._since.values())


def _descendants(server: RunningServer) -> list[psutil.Process]:
    """The children of Triton, which itself is the child of the supervisor."""
    try:
        tritons = psutil.Process(server.pid).children()
        return [process for triton in tritons for process in triton.children(recursive=True)]
    except psutil.Error:
        return []


def _model_of(process: psutil.Process) -> tuple[str, str] | None:
    """A stub's second argument is `<repository>/<model>/<version>/<file>`, for every Python-based backend."""
    try:
        arguments = process.cmdline()
    except psutil.Error:
        return None
    if len(arguments) <= MODEL_PATH_ARGUMENT or Path(arguments[0]).name != STUB:
        return None
    version = Path(arguments[MODEL_PATH_ARGUMENT]).parent
    return version.parent.name, version.name


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
