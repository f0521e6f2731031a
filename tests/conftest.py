"""Fixtures for every test: an embedded Triton over a repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from modelyard_server.process import TritonServer
from support.triton import options_on_free_ports


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], TritonServer]]:
    """Starts an embedded Triton over a repository, on free ports, every model ready; all stop with the module."""
    with ExitStack() as stack:
        yield lambda repository: stack.enter_context(TritonServer(options_on_free_ports(repository)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on the embedded Triton comes first: these files are the longest, and none should be left to the end."""
    items.sort(key=lambda item: item.get_closest_marker("live") is None)
