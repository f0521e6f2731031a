"""A process that has written a language model by OpenVINO GenAI still hears Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import gc, signal, sys, threading
from pathlib import Path
from support.small_chat import write_small_chat
write_small_chat(Path(sys.argv[1]) / "model_repository")
thread = threading.Thread(target=gc.collect)
thread.start()
thread.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_heard_after_a_model_was_written(tmp_path: Path) -> None:
    """GenAI leaves a signal stack set whose memory is gone: the next signal would end the process without a word."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CODE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
