"""Another user, for whom the rights of files count: root, as whom tests may run, reads everything."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

NOBODY = 65534
_Found = TypeVar("_Found")


def as_nobody(look: Callable[[], _Found]) -> _Found:
    """What a function of a module returns or raises in a process of its own, which is not root's.

    It makes the files that it looks at: pytest's temporary folders are closed to other users.
    """
    # Forked, so that nobody need be able to read Python's own files.
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        return pool.submit(_without_root, look).result()


def _without_root(look: Callable[[], _Found]) -> _Found:
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    return look()
