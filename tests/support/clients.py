"""Both clients behind one face, so that a test holds for each of them over each protocol."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from modelyard_client import AsyncClient, AsyncInferenceSequence, Client
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
    """A client, or a sequence of one."""

    def __init__(self, asynchronous: AsyncClient | AsyncInferenceSequence, loop: asyncio.AbstractEventLoop) -> None:
        self._asynchronous = asynchronous
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._asynchronous, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._awaited(method(*args, **kwargs))

        return call

    def _awaited(self, outcome: Any) -> Any:
        if inspect.isasyncgen(outcome):
            return self._each(cast(AsyncGenerator[Any, None], outcome))
        if isinstance(outcome, AsyncInferenceSequence):
            return self._entered(outcome)
        return self._loop.run_until_complete(outcome) if inspect.isawaitable(outcome) else outcome

    def _each(self, generator: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            while True:
                yield self._loop.run_until_complete(anext(generator))
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(generator.aclose())

    @contextmanager
    def _entered(self, sequence: AsyncInferenceSequence) -> Iterator[_OnLoop]:
        self._loop.run_until_complete(sequence.__aenter__())
        try:
            yield _OnLoop(sequence, self._loop)
        finally:
            self._loop.run_until_complete(sequence.__aexit__(None, None, None))
