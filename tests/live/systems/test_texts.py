"""What the served systems do with texts that are wrong, long, or of every language."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from modelyard_client import Client
from modelyard_client.errors import ClientError, InvalidInput, TextTruncated
from modelyard_client.tasks import TextEmbedder, TicketClassifier
from modelyard_server.process import TritonServer

# The first of these tests builds both systems where nothing is cached.
pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("element", "words"),
    [
        (b"caf\xe9", "not valid UTF-8: byte 0xe9 at offset 3"),
        (b"  \n", "is empty"),
        (b"x " * 150_000, "has 300000 characters, at most 200000"),
    ],
)
def test_a_bad_text_fails_alone(server: TritonServer, element: bytes, words: str) -> None:
    """Sent raw, past the client's own checks: its request gets the sentence, its batch-mates get answers."""

    def embed(text: bytes) -> object:
        with Client(f"grpc://{server.grpc_url}") as client:
            try:
                return client.infer("text_embedder", {"text": np.array([[text]], dtype=np.object_)})["embedding"]
            except ClientError as error:
                return error

    texts = [b"a good text", element, b"another good text"] * 4
    with ThreadPoolExecutor(len(texts)) as threads:
        answers = list(threads.map(embed, texts))
    for text, answer in zip(texts, answers, strict=True):
        if text is element:
            assert isinstance(answer, ClientError)
            assert words in str(answer)
        else:
            assert isinstance(answer, np.ndarray)
            assert answer.shape == (1, 384)


def test_a_text_of_10_000_tokens_is_cut_and_says_so(server: TritonServer) -> None:
    """The embedding is that of the first 256 tokens; the client warns, or refuses when told not to cut."""
    with Client(f"grpc://{server.grpc_url}") as client:
        embedder = TextEmbedder(client)
        with pytest.warns(TextTruncated, match="10,?002"):
            long = embedder.embed(["word " * 10_000])
        whole = embedder.embed(["word " * 254])
        with pytest.raises(InvalidInput, match=r"10,?002"):
            embedder.embed(["word " * 10_000], truncate=False)
    np.testing.assert_allclose(long, whole, atol=1e-6)


def test_an_item_is_answered_alike_in_any_company(server: TritonServer) -> None:
    """A short text beside long ones gets the vector that it gets alone: padding changes nothing."""
    short = "Late fee on my card"
    with Client(f"grpc://{server.grpc_url}") as client:
        embedder = TextEmbedder(client)
        alone = embedder.embed([short])
        beside = embedder.embed([short, "word " * 200, "Überweisung nach 日本 🎉"])
    np.testing.assert_allclose(beside[:1], alone, atol=1e-6)


def test_like_texts_are_near(server: TritonServer) -> None:
    """The vectors mean something: two complaints about a card are nearer than one about a house."""
    with Client(f"http://{server.http_url}") as client:
        card, other_card, house = TextEmbedder(client).embed(
            ["My credit card was charged twice", "They billed my card two times", "The roof of my house leaks"]
        )
    assert card @ other_card > card @ house + 0.2


def test_probabilities_are_probabilities(server: TritonServer) -> None:
    """Eight labels, summing to one, the first the most probable; and the obvious complaint gets the obvious label."""
    with Client(f"grpc://{server.grpc_url}") as client:
        (prediction,) = TicketClassifier(client).classify(["The servicer lost my mortgage payment and foreclosed"])
    assert prediction.label == "Mortgage"
    assert prediction.probability == max(prediction.probabilities.values())
    assert len(prediction.probabilities) == 8
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
