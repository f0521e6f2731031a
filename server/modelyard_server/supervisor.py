"""The process between whoever starts Triton and Triton itself: whatever happens to either, nothing is left behind.

Run as `python -m modelyard_server.supervisor`. It ends Triton when it gets a signal, or when the process that started
it is gone; it removes what Triton leaves when that crashes; and when it is killed itself, the kernel ends Triton.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from modelyard_server.cleanup import kill_processes, remove_leftovers
from modelyard_server.log import ENDED
from modelyard_server.state import MARK_VARIABLE, read_states, remove_state

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HANG_S = 2.0
POLL_S = 0.05
CRASHES = (signal.SIGABRT, signal.SIGSEGV)
CRASH_S = 30.0
"""Seconds that Triton may take to write down where it crashed; it may wait forever for a lock that it held itself."""
LOOK_S = 5.0
DRAIN_MARGIN_S = 5.0
"""Seconds that Triton gets beyond its own `--exit-timeout-secs`, to unload its models."""


def main() -> int:
    """Supervises one run of Triton. Returns 0 when it was told to end it, 1 when Triton ended by itself."""
    parser = argparse.ArgumentParser(prog="modelyard_server.supervisor", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the server's state is written down")
    parser.add_argument("--exit-timeout", type=int, required=True, help="seconds that running inferences may take")
    parser.add_argument("--lifeline", type=int, help="a pipe whose end means that the starting process is gone")
    parser.add_argument("command", nargs="+", help="tritonserver and its arguments")
    arguments = parser.parse_args()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # a Python process that outlives Triton becomes a child of this one
    wakeup = _wake_on_signals()
    try:
        triton = subprocess.Popen(arguments.command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent)
        told = _wait(triton, wakeup, arguments.lifeline)
        _end(triton, arguments.exit_timeout + DRAIN_MARGIN_S)
        if not told:
            _say(f"{ENDED}: {_ending(triton.returncode)}")
        return 0 if told else 1
    finally:
        _leave_nothing(arguments.folder, os.environ[MARK_VARIABLE])


def _wake_on_signals() -> int:
    """Turns the signals of interest into bytes on a pipe; returns the end to read."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (*STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reader


def _wait(triton: subprocess.Popen[bytes], wakeup: int, lifeline: int | None) -> bool:
    """Waits for a reason to end; returns whether somebody asked for it, and not Triton ended by itself."""
    watched = [wakeup] if lifeline is None else [wakeup, lifeline]
    crashing_since: float | None = None
    while triton.poll() is None:
        readable, _, _ = select.select(watched, [], [], LOOK_S)
        if lifeline in readable:
            return True
        if wakeup in readable and set(os.read(wakeup, 512)) & set(STOP_SIGNALS):
            return True
        crash, now = _crash(triton), time.monotonic()
        crashing_since = (crashing_since or now) if crash else None
        if crash and crashing_since and now > crashing_since + CRASH_S:
            _say(f"modelyard: tritonserver crashed ({crash.name}), hangs in that and is killed")
            triton.kill()
            triton.wait()
    return False


def _crash(triton: subprocess.Popen[bytes]) -> signal.Signals | None:
    """The signal of a crash that is being handled: blocked in the thread that it hit; otherwise nobody blocks these."""
    blocked = 0
    for status in Path(f"/proc/{triton.pid}/task").glob("*/status"):
        try:
            blocked |= int(status.read_text().partition("SigBlk:")[2].split()[0], 16)
        except (OSError, IndexError):  # the thread ended meanwhile
            continue
    return next((number for number in CRASHES if blocked >> (number - 1) & 1), None)


def _end(triton: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Lets Triton finish the inferences that run, and kills it where it takes longer than allowed or hangs."""
    triton.terminate()
    deadline, hanging_since = time.monotonic() + timeout_s, None
    while triton.poll() is None:
        now = time.monotonic()
        hanging_since = (hanging_since or now) if _waits_for_the_dead(triton) else None
        if now > deadline or (hanging_since and now > hanging_since + HANG_S):
            _say("modelyard: tritonserver does not end and is killed")
            triton.kill()
            triton.wait()
        time.sleep(POLL_S)


def _waits_for_the_dead(triton: subprocess.Popen[bytes]) -> bool:
    """Whether every model is unloaded except those whose Python process died: Triton never gets done with these."""
    try:
        states = [child.status() for child in psutil.Process(triton.pid).children()]
    except psutil.Error:
        return False
    return bool(states) and all(state == psutil.STATUS_ZOMBIE for state in states)


def _leave_nothing(folder: Path, server_id: str) -> None:
    kill_processes(server_id)
    remove_leftovers(folder, server_id)
    for server in read_states(folder):
        if server.id == server_id:
            remove_state(folder, server)


def _end_with_parent() -> None:
    """Runs between fork and exec: SIGTERM for Triton, should this process be killed."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    """prctl(2); Python has no function for it."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _ending(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {-status} ({signal.Signals(-status).name})"


def _say(message: str) -> None:
    """Writes into the server's log; a full disk must not keep this process from its work."""
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
