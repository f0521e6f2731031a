"""What a running Triton is asked and told about its models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from modelyard_server.control import load_model, model_states, unload_model
from modelyard_server.errors import ModelControlError, UnreachableError
from modelyard_server.process import TritonServer
from modelyard_server.readiness import READY, ModelState
from support.triton import infer, options_on_free_ports, write_model

pytestmark = pytest.mark.live

DYING_AT_LOAD = """\
import os

class TritonPythonModel:
    def initialize(self, args):
        os._exit(3)

    def execute(self, requests):
        return []
"""


@pytest.fixture(scope="module")
def server(serve: Callable[[Path], TritonServer], tmp_path_factory: pytest.TempPathFactory) -> TritonServer:
    """A server over a repository with one model, `identity`."""
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "identity")
    return serve(repository)


def state_of(server: TritonServer, model: str) -> ModelState:
    """The one row of a model."""
    [state] = [row for row in model_states(server.http_url) if row.name == model]
    return state


def test_it_listens_on_loopback_only(server: TritonServer) -> None:
    """No port of the server is open to another machine."""
    triton = psutil.Process(server.state.pid).children()[0]
    listening = [c.laddr.ip for c in triton.net_connections() if c.status == psutil.CONN_LISTEN and c.laddr]
    assert len(listening) >= 3
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_nobody_answers(tmp_path: Path) -> None:
    """Without a server the message says so."""
    with pytest.raises(UnreachableError, match=r"no Triton answers at 127\.0\.0\.1:\d+: Connection refused"):
        model_states(f"127.0.0.1:{options_on_free_ports(tmp_path).http_port}")


def test_a_repaired_model_is_loaded_and_a_broken_one_refused(server: TritonServer) -> None:
    """A load that fails tells the reason out of the log, and what was loaded before keeps serving."""
    config = server.options.repository / "identity" / "config.pbtxt"
    good = config.read_text()
    config.write_text(good + "no_such_field: 1\n")
    with pytest.raises(ModelControlError, match=r'6:14: .*has no field named "no_such_field"'):
        load_model(server.http_url, "identity")
    state = state_of(server, "identity")
    assert state.state == READY
    assert "the last load failed" in state.reason
    assert infer(server.http_url, "identity", [1.0]) == [1.0]
    config.write_text(good)
    load_model(server.http_url, "identity")
    assert state_of(server, "identity").reason == ""


def test_a_process_that_dies_while_it_loads(server: TritonServer) -> None:
    """A model whose process ends in `initialize` is refused, and the others keep serving."""
    write_model(server.options.repository, "dying", DYING_AT_LOAD)
    with pytest.raises(ModelControlError, match="Triton did not load dying: Stub process 'dying_0_0' is not healthy"):
        load_model(server.http_url, "dying")
    assert infer(server.http_url, "identity", [1.0]) == [1.0]


def test_a_model_that_nobody_has(server: TritonServer) -> None:
    """An unknown name is refused with Triton's reason."""
    with pytest.raises(ModelControlError, match="did not load none: model not found in any model repository"):
        load_model(server.http_url, "none")


def test_a_new_version_replaces_the_old_one(server: TritonServer) -> None:
    """After a load the newest version serves and the one before is no failure; unloading takes it out of service."""
    folder = write_model(server.options.repository, "growing")
    load_model(server.http_url, "growing")
    (folder / "1").rename(folder / "2")
    load_model(server.http_url, "growing")
    assert state_of(server, "growing") == ModelState("growing", "2", READY, "")
    assert infer(server.http_url, "growing", [1.0]) == [1.0]
    unload_model(server.http_url, "growing")
    assert state_of(server, "growing").reason == "it was unloaded"


def test_a_load_waits_for_a_server_that_is_starting(tmp_path: Path) -> None:
    """Who publishes a version while a server starts over the repository need not know that it does."""
    write_model(tmp_path, "identity")
    server = TritonServer(options_on_free_ports(tmp_path))
    server.start()
    try:
        load_model(server.http_url, "identity")
        assert state_of(server, "identity").state == READY
    finally:
        server.stop()


def test_a_load_that_hangs_is_given_up(tmp_path: Path) -> None:
    """Triton would keep the caller waiting forever for a process that died before its first word."""
    write_model(tmp_path, "identity")
    with TritonServer(replace(options_on_free_ports(tmp_path), exit_timeout_s=0)) as server:
        hollow = write_model(tmp_path, "hollow")
        (hollow / "1" / "model.py").unlink()
        with pytest.raises(ModelControlError, match="Triton waits forever for a Python process that died"):
            load_model(server.http_url, "hollow")
