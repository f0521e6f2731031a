"""The one `openvino.Core` of this process."""

from __future__ import annotations

from functools import cache

import openvino


@cache
def core() -> openvino.Core:
    """OpenVINO's devices, loaded once and kept until the process ends.

    The CPU plugin gives the thread that loads it a signal stack. Released on another thread (by a garbage collection
    there, for instance) it takes the memory away and leaves the stack set: the next signal, such as Ctrl-C, would end
    the process with a segmentation fault.
    """
    return openvino.Core()
