"""Fixtures of the live tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelyard_server.process import TritonServer
from support.client_models import write_client_models
from support.stand_ins import write_stand_ins
from support.triton import options_on_free_ports


@pytest.fixture(scope="session")
def client_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One Triton for all tests of the client that leave it as it is: the client models and the stand-in systems."""
    repository = write_stand_ins(write_client_models(tmp_path_factory.mktemp("client_models")))
    with TritonServer(options_on_free_ports(repository)) as server:
        yield server
