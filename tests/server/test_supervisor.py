"""The process between a command and Triton, over programs that end as Triton may."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.child import run_python

# Little patience, so that the test has to have little, too.
SUPERVISE = """
import os, sys
from modelyard_server import state, supervisor
os.environ[state.MARK_VARIABLE] = "test"
supervisor.CRASH_S, supervisor.LOOK_S = 0.5, 0.1
sys.exit(supervisor.main())
"""
# In a handler of its own a program has the signal blocked that it handles.
HANGS_IN_ITS_CRASH = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])
time.sleep(60)
"""


def supervised(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """A Python program in the place of Triton, until it has ended."""
    arguments = [f"--folder={folder}", "--exit-timeout=1", "--", sys.executable, "-c", code]
    return run_python("-c", SUPERVISE, *arguments)


def test_a_crash_that_hangs_is_ended(tmp_path: Path) -> None:
    """Its clients are cut off at once, and not at the end of their deadlines; the log says what it was."""
    done = supervised(tmp_path, HANGS_IN_ITS_CRASH)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "modelyard: tritonserver crashed (SIGABRT), hangs in that and is killed",
        "modelyard: tritonserver ended by itself: signal 9 (SIGKILL)",
    ]


def test_a_crash_says_what_it_was(tmp_path: Path) -> None:
    """By the signal, where the program did not hang."""
    done = supervised(tmp_path, "import os, time; time.sleep(0.3); os.abort()")
    assert (done.returncode, done.stderr) == (1, "modelyard: tritonserver ended by itself: signal 6 (SIGABRT)\n")
