"""Starts the process that builds an engine, shows its progress, holds it to its memory, and ends it in every case."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from modelyard_build.errors import ArtefactFailed
from modelyard_build.tensorrt_engine import memory, worker
from modelyard_build.tensorrt_engine.job import Job

POLL_S = 0.02
# A line for people this often: a build takes from a second to an hour.
LINE_INTERVAL_S = 5.0
_LOG_LINES = 5


def build(job: Job, title: str, say: Callable[[str], None], accept: Callable[[str], None]) -> dict[str, Any]:
    """Builds an engine in a process of its own.

    Args:
        job: what is built.
        title: what is built, for people.
        say: takes lines for people: progress, and what is worth knowing.
        accept: takes the library's version before anything is built; it raises where it must not be that one.

    Returns:
        What the worker recorded.

    Raises:
        ArtefactFailed: the library refused, crashed, or took more memory than it may.
    """
    limit = memory.limit_bytes()
    with tempfile.TemporaryFile() as log:
        with _started(job, log) as process:
            outcome = _follow(_messages(process, limit, title), title, say, accept)
            process.wait()
        if outcome is None:
            raise ArtefactFailed(f"{title}: {_ended(process.returncode)} {_last_lines(log)}".rstrip())
    if "error" in outcome:
        raise ArtefactFailed(f"{title}: {outcome['error']}")
    record: dict[str, Any] = outcome["record"]
    return record


@contextlib.contextmanager
def _started(job: Job, log: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """The worker, which ends with the block. Its session is its own: Ctrl-C reaches the build alone, which ends it."""
    with subprocess.Popen(
        [sys.executable, "-m", worker.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdin  # noqa: S101  # asked for above
            # It stays open: the worker ends when it closes.
            process.stdin.write(job.to_json() + "\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def _follow(
    messages: Iterable[dict[str, Any]], title: str, say: Callable[[str], None], accept: Callable[[str], None]
) -> dict[str, Any] | None:
    """Reads until the outcome; None when the worker ended without one."""
    next_line = time.monotonic() + LINE_INTERVAL_S
    for message in messages:
        if "version" in message:
            accept(message["version"])
        elif "say" in message:
            say(f"{title}: {message['say']}")
        elif "progress" not in message:
            return message
        elif time.monotonic() >= next_line:
            say(f"{title}: {message['progress']:.0%}, {message['phase']}")
            next_line = time.monotonic() + LINE_INTERVAL_S
    return None


def _messages(process: subprocess.Popen[str], limit: int, title: str) -> Iterator[dict[str, Any]]:
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    while True:
        taken = memory.resident_bytes(process.pid)
        if taken > limit:
            raise ArtefactFailed(
                f"{title}: the builder took {taken // memory.MIB} MiB of memory, allowed are {limit // memory.MIB}. "
                f"Free some memory, allow more with {memory.VARIABLE}, or lower max_batch_size or the largest sizes "
                "of the axes."
            )
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if line is None:
            return
        yield json.loads(line)


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout  # noqa: S101  # asked for in `_started`
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _ended(returncode: int) -> str:
    """How a worker ended that gave no outcome, and what to do."""
    if returncode == -signal.SIGKILL:
        return (
            "the builder was killed (SIGKILL), most likely by the kernel for want of memory. Free some, or lower "
            f"{memory.VARIABLE}, max_batch_size or the largest sizes of the axes."
        )
    if returncode < 0:
        return (
            f"the builder crashed ({signal.Signals(-returncode).name}). Nothing was published. Try another precision "
            "or version of the library, and report the graph to NVIDIA if it crashes again."
        )
    return f"the builder ended with status {returncode} and no outcome."


def _last_lines(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()[-_LOG_LINES:]
    return f"Its last lines: {' | '.join(lines)}" if lines else ""
