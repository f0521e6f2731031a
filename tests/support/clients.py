"""Both clients behind one face, so that a test holds for each of them over each protocol."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from modelyard_client import AsyncClient, Client
from modelyard_server.process import TritonServer

Kind = Literal["grpc", "http", "grpc-async", "http-async"]
KINDS: tuple[Kind, ...] = ("grpc", "http", "grpc-async", "http-async")


def url_of(server: TritonServer, kind: Kind) -> str:
    """The server's URL for a kind of client."""
    return f"grpc://{server.grpc_url}" if kind.startswith("grpc") else f"http://{server.http_url}"


@contextmanager
def open_client(kind: Kind, url: str | list[str], **arguments: Any) -> Iterator[Client]:
    """A client of this kind; an async one is called like a blocking one, on a loop of its own."""
    if not kind.endswith("async"):
        with Client(url, **arguments) as client:
            yield client
        return
    loop = asyncio.new_event_loop()
    try:
        on_loop = _OnLoop(AsyncClient(url, **arguments), loop)
        yield cast(Client, on_loop)
        on_loop.close()
    finally:
        loop.close()


class _OnLoop:
    def __init__(self, client: AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            outcome = method(*args, **kwargs)
            if inspect.isasyncgen(outcome):
                outcome = _collected(outcome)
            return self._loop.run_until_complete(outcome) if inspect.isawaitable(outcome) else outcome

        return call


async def _collected(generator: Any) -> list[Any]:
    return [item async for item in generator]
