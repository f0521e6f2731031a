"""How a task calls a model that streams: its tensors are checked once, each response is read as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from modelyard_client.datatypes import Array
from modelyard_client.metadata import ModelMetadata
from modelyard_client.result import Result

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

T = TypeVar("T")


@dataclass
class Streamed(Generic[T]):
    """A decoupled model, blocking.

    Attributes:
        client: where it is.
        model: its name.
        check: raises IncompatibleModel where it is of another kind than the task's.
        parse: what a response says.
    """

    client: Client
    model: str
    check: Callable[[ModelMetadata], None]
    parse: Callable[[Result], T]
    _checked: bool = field(default=False, init=False)

    def responses(self, inputs: dict[str, Array], deadline: float | None) -> Generator[T, None, None]:
        """What one request is answered with; closing the generator stops the work on the server."""
        if not self._checked:
            self.check(self.client.metadata(self.model))
            self._checked = True
        with closing(self.client.stream(self.model, inputs, deadline=deadline)) as results:
            for result in results:
                yield self.parse(result)


@dataclass
class AsyncStreamed(Generic[T]):
    """A decoupled model, async; attributes as of `Streamed`."""

    client: AsyncClient
    model: str
    check: Callable[[ModelMetadata], None]
    parse: Callable[[Result], T]
    _checked: bool = field(default=False, init=False)

    async def responses(self, inputs: dict[str, Array], deadline: float | None) -> AsyncGenerator[T, None]:
        """What one request is answered with; closing the generator stops the work on the server."""
        if not self._checked:
            self.check(await self.client.metadata(self.model))
            self._checked = True
        async with aclosing(self.client.stream(self.model, inputs, deadline=deadline)) as results:
            async for result in results:
                yield self.parse(result)
