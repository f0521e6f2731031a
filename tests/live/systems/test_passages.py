"""`passage_embedder` with its real weights: 440 MB to fetch and minutes to build, so it is slow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modelyard_build.assets import fetch
from modelyard_build.models import passage_embedder
from modelyard_build.models.text_encoder import texts_of
from modelyard_build.repository import manifest
from modelyard_build.similarity import min_cosine
from modelyard_build.sources import pinned_assets
from modelyard_build.stage import cached_arrays
from modelyard_client import Client
from modelyard_client.errors import TextTruncated
from modelyard_client.tasks import PassageEmbedder
from modelyard_ops.building import server_on_free_ports
from support.own_systems import build_own

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[3]
TEXTS = 100


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own configs, with versions that this session built, or found proven in the cache."""
    return build_own(tmp_path_factory.mktemp("passages") / "model_repository", "passage_embedder")


@pytest.fixture(scope="module")
def embedder(repository: Path) -> Iterator[PassageEmbedder]:
    with server_on_free_ports(repository) as server, Client(f"grpc://{server.grpc_url}", deadline=120) as client:
        yield PassageEmbedder(client)


def test_vectors_are_pytorchs(embedder: PassageEmbedder, repository: Path) -> None:
    """The worst of 100 real complaints has a cosine of at least 0.99999."""
    model = passage_embedder.ENSEMBLE
    files = fetch(pinned_assets(model), print)
    inputs = model.examples(files, TEXTS)
    key = manifest.read(repository / "passage_embedder" / "1").key
    expected = cached_arrays(f"{key}-examples", lambda: model.reference(files, inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TextTruncated)
        vectors = embedder.embed(texts_of(inputs))
    assert vectors.shape == (TEXTS, 768)
    assert min_cosine(expected["embedding"], vectors) >= 0.99999


def test_the_manifest_has_the_figures_of_retrieval(repository: Path) -> None:
    """Of nearly every complaint one of the ten nearest is about the same product."""
    figures = manifest.read(repository / "passage_embedder" / "1").metrics
    assert figures["served"]["recall@10"] > 0.9
    assert figures["served"] == pytest.approx(figures["pytorch"], abs=0.001)


def test_a_question_finds_its_answer(embedder: PassageEmbedder) -> None:
    """Queries share no word with the passage that they mean."""
    passages = ["The roof of my house leaks when it rains.", "They billed me two times for one purchase."]
    index = embedder.embed(passages)
    found = embedder.search(["double charge on a credit card", "water comes through the ceiling"], index, k=1)
    assert [hits[0].position for hits in found] == [1, 0]
    assert np.isclose(np.linalg.norm(index, axis=1), 1, atol=1e-5).all()
