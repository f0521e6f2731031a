"""Texts in, vectors and labels out, on the stand-in systems: order, chunks, truncation, bad texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from modelyard_client import AsyncClient, Client
from modelyard_client.errors import IncompatibleModel, InvalidInput, ModelNotFound, TextTruncated
from modelyard_client.tasks import (
    AsyncPassageEmbedder,
    AsyncTextEmbedder,
    AsyncTicketClassifier,
    PassageEmbedder,
    TextEmbedder,
    TicketClassifier,
)
from modelyard_server.process import TritonServer
from support.clients import Kind, url_of
from support.stand_ins import DIMENSIONS, LABELS, MAX_TOKENS, embedding, probabilities

pytestmark = pytest.mark.live

# Of every length up to the maximum, in no order of length; more than a few requests can hold.
TEXTS = [" ".join(f"word{(number * 7 + place) % 50}" for place in range(number * 5 % 16 + 1)) for number in range(33)]


@pytest.fixture(scope="module", params=["grpc", "http"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each protocol."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture(scope="module")
def client(client_triton: TritonServer, kind: Kind) -> Iterator[Client]:
    """A blocking client over it."""
    with Client(url_of(client_triton, kind), deadline=30) as opened:
        yield opened


def expected(texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The vectors of texts, computed here."""
    return np.stack([embedding(text) for text in texts])


def test_embeds_in_order(client: Client) -> None:
    """33 texts over requests of 4, several in flight: row n belongs to text n."""
    vectors = TextEmbedder(client).embed(TEXTS)
    assert vectors.shape == (33, DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-6)


@pytest.mark.parametrize("in_flight", [1, 100])
def test_any_number_of_requests_in_flight(client: Client, in_flight: int) -> None:
    """One at a time and all at once give the same."""
    np.testing.assert_allclose(TextEmbedder(client, in_flight=in_flight).embed(TEXTS), expected(TEXTS), atol=1e-6)


def test_one_text_bytes_and_generators(client: Client) -> None:
    """One text is a list of one; bytes of UTF-8 are text; any iterable will do."""
    assert TextEmbedder(client).embed(["é"]).tolist() == expected(["é"]).tolist()
    vectors = TextEmbedder(client).embed(text.encode() for text in TEXTS)
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-6)


def test_classifies_in_order(client: Client) -> None:
    """Labels, one with a colon, belong to their probabilities, which have 6 decimals."""
    predictions = TicketClassifier(client).classify(TEXTS)
    for text, prediction in zip(TEXTS, predictions, strict=True):
        right = probabilities(text)
        assert prediction.probability == pytest.approx(right.max(), abs=1e-6)
        assert prediction.probabilities == pytest.approx(dict(zip(LABELS, right.tolist(), strict=True)), abs=1e-6)
        assert prediction.probabilities[prediction.label] == prediction.probability
        assert list(prediction.probabilities.values()) == sorted(prediction.probabilities.values(), reverse=True)
    assert {"mortgage: home"} <= {prediction.label for prediction in predictions}


def test_passages_are_found(client: Client) -> None:
    """A passage is the nearest to itself, whatever is embedded with it; k is how many come back."""
    embedder = PassageEmbedder(client)
    index = embedder.embed(TEXTS)
    np.testing.assert_allclose(index, expected(TEXTS), atol=1e-6)
    for text, hits in zip(TEXTS[:5], embedder.search(TEXTS[:5], index, k=3), strict=True):
        assert len(hits) == 3
        assert hits[0].score == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(index[hits[0].position], embedding(text), atol=1e-6)
    with pytest.raises(InvalidInput, match=r"shape \[33, 2\], expected \[number of passages, 384\]"):
        embedder.search(["a"], index[:, :2])


def test_truncated_texts_are_warned_of(client: Client) -> None:
    """Texts above the model's maximum are named by position, and cut as the model cuts them."""
    long = " ".join(["word"] * 10_000)
    with pytest.warns(
        TextTruncated, match=rf"reads {MAX_TOKENS} tokens, .*texts\[1\] \(10000\), texts\[3\] \(17\)"
    ) as caught:
        vectors = TextEmbedder(client).embed(["short", long, "also short", "x " * 17])
    np.testing.assert_allclose(vectors[1], embedding(long), atol=1e-6)
    warning = caught[0].message
    assert isinstance(warning, TextTruncated)
    assert warning.token_counts == {1: 10_000, 3: 17}
    assert caught[0].filename == __file__


def test_truncation_can_be_refused(client: Client) -> None:
    """truncate=False makes an error of it."""
    with pytest.raises(InvalidInput, match=r"texts\[1\] \(20\)\. Split them"):
        TicketClassifier(client).classify(["short", "x " * 20], truncate=False)


def test_texts_of_the_maximum_are_not_truncated(client: Client) -> None:
    """The maximum itself still fits: no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextEmbedder(client).embed(["x " * MAX_TOKENS])


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ([], r"texts is empty"),
        ("a text", r"texts is a single str; pass a list"),
        (b"a text", r"texts is a single bytes"),
        (None, r"texts is a NoneType"),
        ({"a": "text"}, r"texts is a dict"),
        (["good", ""], r"texts\[1\] is empty"),
        (["good", "good", " \t\n\u3000"], r"texts\[2\] is only whitespace"),
        (["good", None], r"texts\[1\] is a NoneType"),
        ([7], r"texts\[0\] is a int"),
        ([["nested"]], r"texts\[0\] is a list"),
        ([b"caf\xe9"], r"texts\[0\] is no valid UTF-8: byte 3 is 0xe9"),
        (["cut \ud83d"], r"texts\[0\] cannot be written as UTF-8: character 4 is a lone surrogate"),
    ],
)
def test_bad_texts_are_named(client: Client, texts: Any, sentence: str) -> None:
    """One clear sentence with the position, before anything is sent."""
    for call in (TextEmbedder(client).embed, TicketClassifier(client).classify):
        with pytest.raises(InvalidInput, match=sentence):
            call(texts)


def test_model_of_another_kind_is_told(client: Client) -> None:
    """A task says what it misses in a model that it cannot use."""
    with pytest.raises(IncompatibleModel, match="no probabilities; this task needs"):
        TicketClassifier(client, "text_embedder").classify(["a"])
    with pytest.raises(IncompatibleModel, match="no embedding, token_count"):
        TextEmbedder(client, "echo").embed(["a"])
    with pytest.raises(ModelNotFound, match="'nobody'"):
        TextEmbedder(client, "nobody").embed(["a"])


async def test_async_twins(client_triton: TritonServer, kind: Kind) -> None:
    """The async tasks give the same, with the same warnings and errors."""
    async with AsyncClient(url_of(client_triton, kind), deadline=30) as client:
        embedder, classifier = AsyncTextEmbedder(client), AsyncTicketClassifier(client)
        np.testing.assert_allclose(await embedder.embed(TEXTS), expected(TEXTS), atol=1e-6)
        labels = [prediction.label for prediction in await classifier.classify(TEXTS)]
        assert labels == [LABELS[int(probabilities(text).argmax())] for text in TEXTS]
        with pytest.warns(TextTruncated, match=r"texts\[0\] \(40\)") as caught:
            await embedder.embed(["x " * 40])
        assert caught[0].filename == __file__
        with pytest.raises(InvalidInput, match=r"texts\[0\] \(40\)"):
            await embedder.embed(["x " * 40], truncate=False)
        with pytest.raises(InvalidInput, match=r"texts\[1\] is empty"):
            await classifier.classify(["a", ""])
        searcher = AsyncPassageEmbedder(client)
        ((hit,),) = await searcher.search(["word1 word2"], await searcher.embed(["word3", "word2 word1"]), k=1)
        assert hit.position == 1
        with pytest.raises(IncompatibleModel, match="no probabilities"):
            await AsyncTicketClassifier(client, "text_embedder").classify(["a"])
