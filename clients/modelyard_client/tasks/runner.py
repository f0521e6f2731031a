"""How every task on texts calls its model: many chunks in flight, blocking or async."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelyard_client.errors import InvalidInput
from modelyard_client.request import checked_in_flight
from modelyard_client.result import Result
from modelyard_client.tasks.texts import (
    Chunk,
    TextModel,
    check_tensors,
    check_truncation,
    checked_texts,
    chunks,
    class_count,
    text_model,
)

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

Answered = list[tuple[Chunk, Result]]


class TextTask:
    """A task on texts, blocking.

    Args:
        client: Where the model is.
        model: The name of the task's ensemble.
        output: The output that the task is about.
        in_flight: How many requests may be under way at once.
        as_classes: Whether to ask for the output's classes with their labels instead of its values.
    """

    def __init__(self, client: Client, model: str, output: str, in_flight: int, *, as_classes: bool = False) -> None:
        self._client = client
        self._name = model
        self._output = output
        self._in_flight = checked_in_flight(in_flight)
        self._as_classes = as_classes
        self._model: TextModel | None = None

    def _known_model(self) -> TextModel:
        if self._model is None:
            metadata = self._client.metadata(self._name)
            check_tensors(metadata, self._output)
            config, tokenizer = self._client.config(self._name), self._client.config(tokenizer_of(self._name))
            self._model = text_model(metadata, config, tokenizer, self._output)
        return self._model

    def _run(self, texts: Iterable[str | bytes], truncate: bool, deadline: float | None) -> Answered:
        checked = checked_texts(texts)
        model = self._known_model()
        parts = list(chunks(checked, model.max_batch_size))
        try:
            results = self._client.infer_many(
                model.name,
                ({"text": chunk.texts} for chunk in parts),
                in_flight=self._in_flight,
                class_count=class_count(model) if self._as_classes else None,
                deadline=deadline,
            )
            answered = list(zip(parts, results, strict=True))
        except InvalidInput:
            # The model may have been loaded with another configuration since it was read.
            self._model = None
            raise
        check_truncation(answered, model.max_tokens, truncate)
        return answered


class AsyncTextTask:
    """A task on texts, async; arguments as of `TextTask`."""

    def __init__(
        self, client: AsyncClient, model: str, output: str, in_flight: int, *, as_classes: bool = False
    ) -> None:
        self._client = client
        self._name = model
        self._output = output
        self._in_flight = checked_in_flight(in_flight)
        self._as_classes = as_classes
        self._model: TextModel | None = None

    async def _known_model(self) -> TextModel:
        if self._model is None:
            metadata = await self._client.metadata(self._name)
            check_tensors(metadata, self._output)
            config = await self._client.config(self._name)
            tokenizer = await self._client.config(tokenizer_of(self._name))
            self._model = text_model(metadata, config, tokenizer, self._output)
        return self._model

    async def _run(self, texts: Iterable[str | bytes], truncate: bool, deadline: float | None) -> Answered:
        checked = checked_texts(texts)
        model = await self._known_model()
        parts = list(chunks(checked, model.max_batch_size))
        try:
            results = self._client.infer_many(
                model.name,
                ({"text": chunk.texts} for chunk in parts),
                in_flight=self._in_flight,
                class_count=class_count(model) if self._as_classes else None,
                deadline=deadline,
            )
            answered = list(zip(parts, [result async for result in results], strict=True))
        except InvalidInput:
            # The model may have been loaded with another configuration since it was read.
            self._model = None
            raise
        check_truncation(answered, model.max_tokens, truncate)
        return answered


def tokenizer_of(model: str) -> str:
    """The name of the ensemble's step that cuts texts into tokens."""
    return f"{model}_tokenizer"
