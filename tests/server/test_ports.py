"""The check of the ports, against real listeners."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from modelyard_server.errors import PortInUseError
from modelyard_server.ports import LOOPBACK, check_ports, free_ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this very process listens."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_free_ports_are_free_and_different() -> None:
    """What `free_ports` gives passes the check."""
    http, grpc, metrics = free_ports(3)
    check_ports({"http": http, "grpc": grpc, "metrics": metrics})


def test_a_port_in_use_names_the_port_its_holder_and_the_way_out(taken: int) -> None:
    """The sentence says which port, for what, who holds it, and which option chooses another."""
    with pytest.raises(PortInUseError) as caught:
        check_ports({"http": free_ports(1)[0], "grpc": taken})
    message = str(caught.value)
    assert f"port {taken} for grpc is in use by " in message
    assert f"(pid {os.getpid()})" in message
    assert message.endswith("choose another with --grpc-port.")


def test_a_listener_on_every_address_counts() -> None:
    """Somebody on 0.0.0.0 has the loopback's port, too."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))  # noqa: S104  this is what is tested
        listener.listen()
        with pytest.raises(PortInUseError, match="in use"):
            check_ports({"metrics": listener.getsockname()[1]})


def test_a_closing_connection_is_no_obstacle() -> None:
    """A port whose last connection is in TIME_WAIT can be listened on again at once."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        client = socket.create_connection((LOOPBACK, port))
        accepted, _ = listener.accept()
        accepted.close()  # the side that closes first keeps the port in TIME_WAIT
        client.close()
    check_ports({"http": port})


def test_two_services_on_one_port() -> None:
    """The same number for two services is refused before Triton is started."""
    port = free_ports(1)[0]
    with pytest.raises(PortInUseError, match=f"http and grpc cannot both listen on port {port}"):
        check_ports({"http": port, "grpc": port})


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_no_port_at_all(port: int) -> None:
    """A number that is no port is refused with the range."""
    with pytest.raises(PortInUseError, match=f"{port} is no port for http; expected 1 to 65535"):
        check_ports({"http": port})
