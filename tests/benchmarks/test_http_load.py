"""The load generator's HTTP: what is sent is what was stored, answers are received whole, failures are said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from measure.contenders import Contender, binary_body, json_body, json_vector, peer_body, peer_vector
from measure.load_generator import Order, content_length, play_http

Answer = Callable[[bytes], list[bytes]]


async def play(answer: Answer, requests: list[bytes], concurrency: int = 2) -> list[bytes]:
    """A short round against a server that answers in these pieces; returns what the server was sent."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(1 << 16):
            seen.append(request)
            for piece in answer(request):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        played = await play_http(Order("http", f"127.0.0.1:{port}", [], concurrency, 0.05), requests)
    assert played.requests >= 2 * concurrency
    assert min(played.latencies_s) > 0
    return seen


def ok(_: bytes) -> list[bytes]:
    """Head and body in three pieces."""
    return [b"HTTP/1.1 200 OK\r\nContent-", b"Length: 4\r\n\r\nab", b"cd"]


async def test_requests_are_sent_in_turns_as_they_are_stored() -> None:
    """Two loops begin with different requests; an answer that comes in pieces is one."""
    seen = await play(ok, [b"one", b"two"])
    assert set(seen) == {b"one", b"two"}
    assert {seen[0], seen[1]} == {b"one", b"two"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nwhy"], "500 Oh.*why"),
        ([b"HTTP/1.1 429 Too\r\ncontent-length: 0\r\n\r\n"], "429"),
    ],
)
async def test_an_answer_that_is_none_ends_the_round(answer: list[bytes], words: str) -> None:
    """A server that refuses is not measured as if it were fast."""
    with pytest.raises(RuntimeError, match=words):
        await play(lambda _: answer, [b"x"])


def test_an_answer_must_announce_its_length() -> None:
    """In any case of letters."""
    assert content_length(b"HTTP/1.1 200 OK\r\ncOntent-lEngth:  12") == 12
    with pytest.raises(ValueError, match="without a Content-Length"):
        content_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


@pytest.mark.parametrize("body", [peer_body, json_body, binary_body])
def test_a_request_is_whole(body: Callable[[str], tuple[bytes, dict[str, str]]]) -> None:
    """Head and body, with the length of the body in bytes."""
    contender = Contender("c", "127.0.0.1:1", 1, "/path", body, peer_vector)
    head, _, content = contender.request("größer").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /path HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert content_length(head) == len(content) == len(body("größer")[0])


def test_vectors_are_read_out_of_json() -> None:
    """Of the peers' form and of Triton's."""
    assert peer_vector(b'{"embedding": [0.5, 1]}', None).tolist() == [0.5, 1]
    assert json_vector(b'{"outputs": [{"data": [0.5, 1]}]}', None).tolist() == [0.5, 1]
