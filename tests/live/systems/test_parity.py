"""Served answers against PyTorch's, on real texts, over both protocols."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelyard_build.assets import fetch
from modelyard_build.model import Arrays, Ensemble
from modelyard_build.models import find
from modelyard_build.models.text_encoder import texts_of
from modelyard_build.repository import manifest, versions
from modelyard_build.similarity import min_cosine
from modelyard_build.stage import cached_arrays
from modelyard_client import Client
from modelyard_client.tasks import TextEmbedder, TicketClassifier
from modelyard_server.process import TritonServer

# The first of these tests builds both systems where nothing is cached.
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::modelyard_client.errors.TextTruncated"),
]
TEXTS = 200


def reference(name: str, repository: Path) -> tuple[list[str], Arrays]:
    """200 real complaints and what PyTorch answers, computed once for each source."""
    model = find(name)
    assert isinstance(model, Ensemble)
    files = fetch(model.assets, print)
    inputs = model.examples(files, TEXTS)
    newest = versions.latest(repository / name)
    assert newest is not None
    key = manifest.read(newest).key
    return texts_of(inputs), cached_arrays(f"{key}-examples", lambda: model.reference(files, inputs))


def url(server: TritonServer, protocol: str) -> str:
    return f"{protocol}://{server.grpc_url if protocol == 'grpc' else server.http_url}"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_embeddings_are_pytorchs(server: TritonServer, repository: Path, protocol: str) -> None:
    """The worst of 200 embeddings has a cosine of at least 0.99999 with PyTorch's, and unit length."""
    texts, expected = reference("text_embedder", repository)
    with Client(url(server, protocol)) as client:
        embeddings = TextEmbedder(client).embed(texts)
    assert embeddings.shape == (TEXTS, 384)
    assert embeddings.dtype == np.float32
    assert min_cosine(expected["embedding"], embeddings) >= 0.99999
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_labels_are_pytorchs(server: TritonServer, repository: Path, protocol: str) -> None:
    """All of 200 labels are those of PyTorch's most probable class, and the probabilities agree."""
    texts, expected = reference("ticket_classifier", repository)
    labels = next(tensor.labels for tensor in find("ticket_classifier").outputs if tensor.labels)
    with Client(url(server, protocol)) as client:
        predictions = TicketClassifier(client).classify(texts)
    assert [prediction.label for prediction in predictions] == [
        labels[index] for index in expected["probabilities"].argmax(1)
    ]
    served = np.array([[prediction.probabilities[label] for label in labels] for prediction in predictions])
    np.testing.assert_allclose(served, expected["probabilities"], atol=1e-5)
