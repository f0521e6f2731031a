"""OpenVINO in the build's process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

SCRIPT = """
import signal, threading
import openvino
from openvino import opset8
from modelyard_build.openvino_core import core

signal.signal(signal.SIGINT, signal.default_int_handler)
given = opset8.parameter([1, 4])
held = [core().compile_model(openvino.Model([opset8.relu(given)], [given]), "CPU")]
releasing = threading.Thread(target=held.clear)
releasing.start()
releasing.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_an_interrupt_after_a_compiled_model_was_released_on_another_thread() -> None:
    """With a core that goes with its last model, the signal finds no stack and the process dies of SIGSEGV."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr
