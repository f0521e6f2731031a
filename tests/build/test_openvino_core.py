"""OpenVINO in the build's process: a signal that comes after it is heard.

The handler of a signal runs on a stack that the thread has set. What sets one and gives its memory back leaves a
process that the next signal ends without a word.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.child import run_python

pytest.importorskip("openvino")

INTERRUPTED = """
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
COMPILED = """
import signal, threading
import openvino
from openvino import opset8
from modelyard_build.openvino_core import core

given = opset8.parameter([1, 4])
held = [core().compile_model(openvino.Model([opset8.relu(given)], [given]), "CPU")]
releasing = threading.Thread(target=held.clear)
releasing.start()
releasing.join()
"""
WRITTEN = """
import gc, signal, sys, threading
from pathlib import Path
from support.small_chat import write_small_chat

write_small_chat(Path(sys.argv[1]) / "model_repository")
thread = threading.Thread(target=gc.collect)
thread.start()
thread.join()
"""


def test_ctrl_c_is_an_interrupt_after_a_compiled_model_was_released_on_another_thread() -> None:
    """With a core that goes with its last model, the signal finds no stack and the process dies of SIGSEGV."""
    done = run_python("-c", COMPILED + INTERRUPTED)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_ctrl_c_is_an_interrupt_after_a_language_model_was_written(tmp_path: Path) -> None:
    """OpenVINO GenAI, which writes it, leaves its stack set; the build sets back the one that was there."""
    done = run_python("-c", WRITTEN + INTERRUPTED, str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
