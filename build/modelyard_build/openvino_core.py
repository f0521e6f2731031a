"""The one `openvino.Core` of this process."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
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


class _Stack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@contextlib.contextmanager
def same_signal_stack() -> Iterator[None]:
    """Gives this thread back the signal stack that it has, for what loads OpenVINO's devices itself; see `core`.

    OpenVINO GenAI does; after it a Ctrl-C ended the process without a word.
    """
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
