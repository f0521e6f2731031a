"""Runs perf_analyzer: the one place that starts and ends its process."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from modelyard_ops.errors import OpsError
from modelyard_ops.perf.report import unloadable


@dataclass(frozen=True)
class Output:
    """What a run printed. `stdout` holds every line, also where the run ended badly."""

    stdout: str
    stderr: str


def run(line: Sequence[str], library_path: str, limit_s: float, on_line: Callable[[str], None]) -> Output:
    """Runs a command line to its end; every line of its standard output also goes to `on_line` as it comes.

    The process is killed on any way out of here, KeyboardInterrupt included.

    Args:
        line: perf_analyzer's path and its arguments.
        library_path: LD_LIBRARY_PATH for it.
        limit_s: seconds after which it is killed.
        on_line: sees each line without its end.

    Raises:
        OpsError: perf_analyzer cannot run on this machine, or was killed for its time.
    """
    lines: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = _start(line, library_path, errors.fileno())
        with _ended(process), _time_limit(process, limit_s) as over:
            for text in _lines(process):
                lines.append(text)
                on_line(text)
            process.wait()
        errors.seek(0)
        stderr = errors.read()
    if over.is_set():
        stderr += f"perf_analyzer was still running after its limit of {limit_s:.0f} s, and was killed"
    missing = unloadable(stderr)
    if missing:
        raise OpsError(
            f"perf_analyzer cannot run on this machine: {missing}. It needs Linux x86_64 with glibc 2.34 or later, "
            "libstdc++ of GCC 12 or later and OpenSSL 3 (Debian: libstdc++6, libssl3)."
        )
    return Output("\n".join(lines), stderr)


def _start(line: Sequence[str], library_path: str, stderr: int) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "LD_LIBRARY_PATH": library_path},
            encoding="utf-8",
            errors="replace",
            # A Ctrl-C at the terminal reaches this process alone: perf_analyzer would drain for seconds first.
            start_new_session=True,
        )
    except OSError as error:
        raise OpsError(f"perf_analyzer cannot be started: {error.strerror} ({line[0]}).") from None


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    for text in process.stdout or ():
        yield text.rstrip("\n")


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Sees to it that the process is gone afterwards."""
    try:
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@contextmanager
def _time_limit(process: subprocess.Popen[str], limit_s: float) -> Iterator[threading.Event]:
    """Kills the process after `limit_s` seconds; the event says whether that happened."""
    over = threading.Event()

    def end() -> None:
        over.set()
        process.kill()

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
