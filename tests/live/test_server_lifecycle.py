"""The embedded Triton from its start to its end, and to every other end that it can come to."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from modelyard_server.control import model_states
from modelyard_server.errors import PortInUseError, ServerDiedError, StartError
from modelyard_server.process import TritonServer
from modelyard_server.readiness import UNHEALTHY
from modelyard_server.state import running_servers
from modelyard_server.stubs import STUB
from support.triton import IDENTITY, eventually, infer, left_behind, options_on_free_ports, write_model

pytestmark = pytest.mark.live


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one model, `identity`."""
    write_model(tmp_path / "repository", "identity")
    return tmp_path / "repository"


@pytest.fixture
def server(repository: Path) -> Iterator[TritonServer]:
    """A server over it, ready."""
    with TritonServer(options_on_free_ports(repository)) as started:
        yield started


def triton_of(server: TritonServer) -> psutil.Process:
    """The process of tritonserver itself."""
    return psutil.Process(server.state.pid).children()[0]


def test_two_servers_serve_side_by_side_and_leave_nothing(repository: Path, tmp_path: Path) -> None:
    """Two servers over two repositories answer on their own ports; the end of one does not touch the other."""
    write_model(tmp_path / "other", "echo")
    with TritonServer(options_on_free_ports(tmp_path / "other")) as other:
        with TritonServer(options_on_free_ports(repository)) as server:
            state = server.state
            assert infer(server.http_url, "identity", [1.0, 2.0]) == [1.0, 2.0]
            assert [found.http_url for found in running_servers(repository)] == [server.http_url]
            with pytest.raises(urllib.error.HTTPError):
                infer(other.http_url, "identity", [1.0])
        assert left_behind(state) == []
        assert infer(other.http_url, "echo", [3.0]) == [3.0]
        other_state = other.state
    assert left_behind(other_state) == []
    assert running_servers(repository) == []


def test_a_killed_triton_is_noticed_and_leaves_nothing(server: TritonServer) -> None:
    """After kill -9 of tritonserver its Python processes and regions go, and the reason is told."""
    state = server.state
    triton_of(server).kill()
    with pytest.raises(ServerDiedError, match=r"signal 9 \(SIGKILL\)"):
        server.wait()
    assert left_behind(state) == []


def test_a_crashed_triton_leaves_nothing(server: TritonServer) -> None:
    """A segmentation fault is an end like another."""
    state = server.state
    triton_of(server).send_signal(signal.SIGSEGV)
    with pytest.raises(ServerDiedError, match="SIGSEGV"):
        server.wait()
    assert left_behind(state) == []


def test_a_killed_python_process_is_reported_and_the_server_still_stops(server: TritonServer) -> None:
    """Triton goes on saying READY; the state says UNHEALTHY, and stopping does not wait for the dead."""
    state = server.state
    [stub] = triton_of(server).children()
    assert stub.name().startswith(STUB[:15])
    stub.kill()
    assert eventually(lambda: model_states(server.http_url)[0].state == UNHEALTHY)
    with pytest.raises(urllib.error.HTTPError):
        infer(server.http_url, "identity", [1.0])
    server.stop()
    assert left_behind(state) == []


def test_a_killed_supervisor_takes_triton_with_it(server: TritonServer) -> None:
    """The kernel ends Triton when its supervisor is killed; stopping removes what is left."""
    state = server.state
    psutil.Process(state.pid).kill()
    with pytest.raises(ServerDiedError, match="its supervisor was killed"):
        server.wait()
    server.stop()
    assert left_behind(state) == []


def test_the_next_start_sweeps_what_was_killed_altogether(repository: Path, tmp_path: Path) -> None:
    """Where all processes were killed at once, the regions that stay are removed by the next start on any port."""
    killed = TritonServer(options_on_free_ports(repository))
    killed.start()
    killed.wait_ready()
    state = killed.state
    for process in [psutil.Process(state.pid), *psutil.Process(state.pid).children(recursive=True)]:
        process.kill()
    assert any(name.startswith("modelyard_") for name in left_behind(state))
    write_model(tmp_path / "other", "echo")
    with TritonServer(options_on_free_ports(tmp_path / "other")):
        assert left_behind(state) == []
    killed.stop()


def test_a_server_ends_with_the_process_that_started_it(repository: Path) -> None:
    """A program that is killed while it holds a server leaves none behind."""
    options = options_on_free_ports(repository)
    program = (
        "import sys, time; from pathlib import Path; from modelyard_server.process import ServerOptions, TritonServer\n"
        "with TritonServer(ServerOptions(Path(sys.argv[1]), *map(int, sys.argv[2:]))): print('ready', flush=True); "
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(repository), *map(str, options.ports.values())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        [state] = running_servers(repository)
        holder.kill()
    assert eventually(lambda: left_behind(state) == [])


def test_a_python_process_that_dies_before_its_first_word_does_not_hang_the_start(repository: Path) -> None:
    """Triton waits for it forever; the start gives up and says what that process said."""
    broken = write_model(repository, "broken")
    (broken / "1" / "model.py").unlink()
    server = TritonServer(options_on_free_ports(repository))
    server.start()
    state = server.state
    with pytest.raises(StartError, match=r"died: Failed to preinitialize .*broken/1/model\.py"):
        server.wait_ready()
    server.stop()
    assert left_behind(state) == []


def test_a_port_is_taken_from_the_start_on(repository: Path) -> None:
    """Two that start on one port see each other though neither listens yet; the message says how to stop the other."""
    options = options_on_free_ports(repository)
    first = TritonServer(options)
    first.start()
    try:
        with pytest.raises(PortInUseError, match=f"modelyard stop --http-port {options.http_port}"):
            TritonServer(options).start()
    finally:
        first.stop()


def test_an_own_backend_serves_a_portable_config(repository: Path, tmp_path: Path) -> None:
    """A Python-based backend is chosen by the backend directory; its regions carry the server's prefix, too."""
    (tmp_path / "backends" / "tiny").mkdir(parents=True)
    (tmp_path / "backends" / "tiny" / "model.py").write_text(IDENTITY)
    shutil.rmtree(repository / "identity")
    folder = write_model(repository, "portable", backend="tiny")
    (folder / "1" / "model.py").unlink()
    options = replace(options_on_free_ports(repository), backends=tmp_path / "backends")
    with TritonServer(options) as server:
        state = server.state
        assert infer(server.http_url, "portable", [4.0]) == [4.0]
        assert sum(name.startswith("modelyard_") for name in left_behind(state)) == 1
        assert not list(Path("/dev/shm").glob("triton_python_backend_shm_region_*portable*"))
    assert left_behind(state) == []
