"""The ports that a server listens on: loopback only, and nobody else's."""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Mapping

import psutil

from modelyard_server.errors import PortInUseError

LOOPBACK = "127.0.0.1"


def check_ports(ports: Mapping[str, int]) -> None:
    """The server must get every port that it asks for.

    Args:
        ports: for "http", "grpc" and "metrics", the number.

    Raises:
        PortInUseError: two are the same, one is no port, or somebody listens on one of them.
    """
    for name, port in ports.items():
        same = [other for other, number in ports.items() if number == port and other != name]
        if same:
            raise PortInUseError(f"{name} and {same[0]} cannot both listen on port {port}. Give each its own.")
        _check_port(name, port)


def _check_port(name: str, port: int) -> None:
    if not 0 < port < 1 << 16:
        raise PortInUseError(f"{port} is no port for {name}; expected 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that is closing is no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise PortInUseError(f"cannot listen on port {port} for {name}: {error.strerror}.") from error
            raise PortInUseError(
                f"port {port} for {name} is in use{_holder(port)}. Stop that, or choose another with --{name}-port."
            ) from error


def _holder(port: int) -> str:
    """Who listens on a port, where the system tells this user."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""


# Below the ports that Linux gives to connections that go out (ip_local_port_range), which come and go at any time.
_FIRST, _BLOCKS, _BLOCK = 10240, 40, 550
_given = itertools.count()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on just now.

    A port is free until somebody listens on it, so two processes that ask at once could be told of the same one. Each
    process goes through a block of its own, by its number, and comes to a port again only after all the others.

    Raises:
        PortInUseError: there are not as many.
    """
    start = _FIRST + os.getpid() % _BLOCKS * _BLOCK
    candidates = (start + next(_given) % _BLOCK for _ in range(_BLOCK))
    found = list(itertools.islice((port for port in candidates if _is_free(port)), count))
    if len(found) < count:
        raise PortInUseError(f"of the ports {start} to {start + _BLOCK - 1} no {count} are free. Name the ports.")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
