"""Search by meaning, by the ensemble `passage_embedder`: passages to vectors, and the nearest of them to a query."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelyard_client.errors import InvalidInput
from modelyard_client.tasks.text_embedder import AsyncTextEmbedder, Embeddings, TextEmbedder

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

MODEL = "passage_embedder"


@dataclass(frozen=True)
class Hit:
    """One found passage.

    Attributes:
        position: Its row among the indexed ones.
        score: The cosine between it and the query, from -1 to 1.
    """

    position: int
    score: float


class PassageEmbedder(TextEmbedder):
    """Gives each passage a vector of unit length, and finds those whose meaning is nearest to a query's.

    Queries and passages are embedded alike: with `embed`. Keep what it returns (`np.save`) as long as the model stays
    the same; vectors of two models do not compare.

    Args:
        client: Where the model is.
        model: An ensemble as of `TextEmbedder`.
        in_flight: How many requests may be under way at once.
    """

    def __init__(self, client: Client, model: str = MODEL, *, in_flight: int = 8) -> None:
        super().__init__(client, model, in_flight=in_flight)

    def search(
        self,
        queries: Iterable[str | bytes],
        passages: Embeddings,
        *,
        k: int = 10,
        truncate: bool = True,
        deadline: float | None = None,
    ) -> list[list[Hit]]:
        """Finds the nearest passages to each query.

        Args:
            queries: Texts, as for `embed`.
            passages: What `embed` gave for the passages, float32 [number of passages, dimensions].
            k: How many to find; all of them where there are fewer.
            truncate: As of `embed`, for the queries.
            deadline: As of `embed`.

        Returns:
            For each query its hits, the nearest first.

        Raises:
            InvalidInput: As of `embed`; or the passages are of another model, or k is no positive number.
            IncompatibleModel: The model is of another kind.
            ClientError: As `Client.infer`.
        """
        return nearest(self.embed(queries, truncate=truncate, deadline=deadline), passages, k)


class AsyncPassageEmbedder(AsyncTextEmbedder):
    """`PassageEmbedder` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = MODEL, *, in_flight: int = 8) -> None:
        super().__init__(client, model, in_flight=in_flight)

    async def search(
        self,
        queries: Iterable[str | bytes],
        passages: Embeddings,
        *,
        k: int = 10,
        truncate: bool = True,
        deadline: float | None = None,
    ) -> list[list[Hit]]:
        """As `PassageEmbedder.search`."""
        return nearest(await self.embed(queries, truncate=truncate, deadline=deadline), passages, k)


def nearest(queries: Embeddings, passages: Embeddings, k: int) -> list[list[Hit]]:
    """The k passages with the largest scalar product with each query, by comparing with every one.

    Exact, and fast up to about a million passages; beyond that a vector database does it.

    Args:
        queries: float32 [number of queries, dimensions], rows of unit length.
        passages: float32 [number of passages, dimensions], rows of unit length.
        k: How many to find; all of them where there are fewer.

    Raises:
        InvalidInput: k is no positive number, there are no passages, or they have other dimensions than the queries.
    """
    _check(queries, passages, k)
    kept = min(k, len(passages))
    hits = []
    for query in queries:
        scores = passages @ query
        # Only what is found is sorted; of equals the earlier comes first.
        found = np.sort(np.argpartition(-scores, kept - 1)[:kept])
        ordered = found[np.argsort(-scores[found], kind="stable")]
        hits.append([Hit(int(position), float(scores[position])) for position in ordered])
    return hits


def _check(queries: Embeddings, passages: Embeddings, k: int) -> None:
    if k < 1:
        raise InvalidInput(f"k is {k}, expected how many passages to find: 1 or more.")
    if passages.ndim != 2 or passages.shape[1] != queries.shape[1]:
        raise InvalidInput(
            f"passages has shape {list(passages.shape)}, expected [number of passages, {queries.shape[1]}] as embed() "
            "of the same model returns. Embed the passages again with this model."
        )
    if len(passages) == 0:
        raise InvalidInput("passages is empty, expected a row for each passage. Embed at least one.")
