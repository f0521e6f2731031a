"""Texts to vectors, by the ensemble `text_embedder`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard_client.tasks.runner import Answered, AsyncTextTask, TextTask

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

Embeddings = npt.NDArray[np.float32]
OUTPUT = "embedding"


class TextEmbedder(TextTask):
    """Gives each text a vector of unit length; texts of like meaning have vectors with a large scalar product.

    Args:
        client: Where the model is.
        model: An ensemble with the input `text` BYTES [1] and the outputs `embedding` FP32 [dimensions] and
            `token_count` INT32 [1], whose tokenizer is the model `<model>_tokenizer`.
        in_flight: How many requests may be under way at once.
    """

    def __init__(self, client: Client, model: str = "text_embedder", *, in_flight: int = 8) -> None:
        super().__init__(client, model, OUTPUT, in_flight)

    def embed(
        self, texts: Iterable[str | bytes], *, truncate: bool = True, deadline: float | None = None
    ) -> Embeddings:
        """Embeds texts.

        Args:
            texts: `str`, or `bytes` of UTF-8; any number of them.
            truncate: Whether a text with more tokens than the model reads is cut off, with the warning TextTruncated;
                else it is refused, after the model has counted its tokens.
            deadline: Seconds for each of the requests that the texts are sent in; None takes the client's.

        Returns:
            float32 [number of texts, dimensions], one row a text, in their order.

        Raises:
            InvalidInput: There is no text; or one is no text, empty, whitespace, no valid UTF-8 or too long; names it.
            IncompatibleModel: The model is of another kind.
            ClientError: As `Client.infer`.
        """
        return _rows(self._run(texts, truncate, deadline))


class AsyncTextEmbedder(AsyncTextTask):
    """`TextEmbedder` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = "text_embedder", *, in_flight: int = 8) -> None:
        super().__init__(client, model, OUTPUT, in_flight)

    async def embed(
        self, texts: Iterable[str | bytes], *, truncate: bool = True, deadline: float | None = None
    ) -> Embeddings:
        """As `TextEmbedder.embed`."""
        return _rows(await self._run(texts, truncate, deadline))


def _rows(answered: Answered) -> Embeddings:
    total = sum(len(chunk.positions) for chunk, _ in answered)
    rows = np.empty((total, answered[0][1][OUTPUT].shape[1]), dtype=np.float32)
    for chunk, result in answered:
        rows[list(chunk.positions)] = result[OUTPUT]
    return rows
