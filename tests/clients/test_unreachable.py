"""No server, a silent one, one that dribbles, and one that is something else: each ends soon, and typed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from modelyard_client import Client, RetryPolicy
from modelyard_client.errors import (
    AccessDenied,
    ConnectionLost,
    DeadlineExceeded,
    ServerUnavailable,
    UnexpectedAnswer,
)
from modelyard_client.metadata import ModelSignature
from support.clients import KINDS, Kind, open_client

ONCE = RetryPolicy(attempts=1)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on loopback; `serve` gets each connection, in a thread of its own, and the test its port."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of client."""
    chosen: Kind = request.param
    return chosen


def url(kind: Kind, port: int) -> str:
    """A URL on loopback."""
    return f"{kind.removesuffix('-async')}://127.0.0.1:{port}"


def free_port() -> int:
    """One on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_server_that_is_not_there(kind: Kind) -> None:
    """The sentence names the URL and what to look at; the retries are over in a moment."""
    port = free_port()
    with (
        open_client(kind, url(kind, port)) as client,
        pytest.raises(ServerUnavailable, match=rf"cannot connect to {url(kind, port)} .*see that the server runs"),
    ):
        client.infer("m", {})


def test_host_that_does_not_exist(kind: Kind) -> None:
    """A name that nobody knows is no connection either."""
    with (
        open_client(kind, f"{kind.removesuffix('-async')}://nosuch.invalid:1", retry=ONCE, deadline=20) as client,
        pytest.raises(ServerUnavailable, match=r"cannot connect to .*nosuch\.invalid"),
    ):
        client.metadata("m")


def test_nothing_is_live_or_ready(kind: Kind) -> None:
    """Liveness is an answer; waiting ends with the reason."""
    with open_client(kind, url(kind, free_port())) as client:
        assert client.server_live() is False
        with pytest.raises(ServerUnavailable, match="cannot connect"):
            client.wait_ready(timeout=0.5)


def test_server_that_never_answers(kind: Kind) -> None:
    """It accepts and stays silent: the deadline ends it."""
    with (
        listening(lambda connection: None) as port,
        open_client(kind, url(kind, port), deadline=0.5) as client,
        pytest.raises((DeadlineExceeded, ServerUnavailable)),
    ):
        client.metadata("m")


@pytest.mark.parametrize("kind", ["http", "http-async"], indirect=True)
@pytest.mark.parametrize(
    "beginning", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
def test_answer_that_dribbles_in(kind: Kind, beginning: bytes) -> None:
    """A byte now and then keeps no call beyond its deadline, in the headers or in the body."""
    stopped = threading.Event()

    def dribble(connection: socket.socket) -> None:
        try:
            connection.sendall(beginning)
            while not stopped.wait(0.1):
                connection.sendall(b"x")
        except OSError:
            return

    with listening(dribble) as port, open_client(kind, url(kind, port), deadline=0.6) as client:
        with pytest.raises(DeadlineExceeded, match=r"within the deadline of 0\.6 s"):
            client.metadata("m")
        stopped.set()


@pytest.mark.parametrize("kind", ["http", "http-async"], indirect=True)
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"])
def test_server_that_hangs_up(kind: Kind, answer: bytes) -> None:
    """Before the answer or in its middle: the connection is lost, and the request was sent twice."""
    asked: list[bytes] = []

    def hang_up(connection: socket.socket) -> None:
        asked.append(connection.recv(1 << 16))
        connection.sendall(answer)
        connection.close()

    with listening(hang_up) as port, open_client(kind, url(kind, port), deadline=10) as client:
        client.operations._signatures["m", ""] = ModelSignature("m", {}, {})
        with pytest.raises(ConnectionLost, match="whether it ran is unknown"):
            client.infer("m", {})
    assert len(asked) == 2


@pytest.mark.parametrize("kind", ["http", "http-async"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", UnexpectedAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", UnexpectedAnswer),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello", UnexpectedAnswer),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", UnexpectedAnswer),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", AccessDenied),
    ],
)
def test_server_that_is_something_else(kind: Kind, answer: bytes, error: type[Exception]) -> None:
    """Its answer is not taken for Triton's, and nothing is asked twice."""
    asked: list[bytes] = []

    def reply(connection: socket.socket) -> None:
        asked.append(connection.recv(1 << 16))
        connection.sendall(answer)

    with (
        listening(reply) as port,
        open_client(kind, url(kind, port), deadline=10) as client,
        pytest.raises(error),
    ):
        client.metadata("m")
    assert len(asked) == 1


def test_environment_proxies_are_not_asked(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL says where the server is."""
    proxied: list[bytes] = []
    with listening(lambda connection: proxied.append(connection.recv(100))) as port:
        for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        with open_client(kind, url(kind, free_port()), retry=ONCE, deadline=5) as client:
            assert client.server_live() is False
    assert proxied == []


@pytest.mark.parametrize("kind", ["http", "http-async"], indirect=True)
def test_path_and_headers_go_with_every_call(kind: Kind) -> None:
    """The prefix of a gateway and the client's headers are in what is sent."""
    asked: list[bytes] = []
    with (
        listening(lambda connection: asked.append(connection.recv(1 << 16))) as port,
        open_client(
            kind, f"{url(kind, port)}/gateway/", headers={"X-Team": "blue"}, deadline=0.5, retry=ONCE
        ) as client,
        pytest.raises(DeadlineExceeded),
    ):
        client.metadata("m")
    assert asked[0].startswith(b"GET /gateway/v2/models/m HTTP/1.1")
    assert b"x-team: blue" in asked[0].lower()


def test_closing_twice_is_harmless(kind: Kind) -> None:
    """A client that was never used closes as well."""
    with open_client(kind, url(kind, 1)) as client:
        client.close()
        client.close()


def test_client_is_made_without_a_server() -> None:
    """Connecting waits for the first call."""
    Client(["grpc://127.0.0.1:1", "http://127.0.0.1:1"]).close()
