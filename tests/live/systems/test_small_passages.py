"""`passage_embedder` in small, built, proven and served for real: its own declarations on random weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest

from modelyard_build import pipeline
from modelyard_build.assets import fetch
from modelyard_build.model import Ensemble
from modelyard_build.models.passage_embedder import TOKENS
from modelyard_build.models.text_encoder import as_input
from modelyard_build.similarity import min_cosine
from modelyard_build.sources import pinned_assets
from modelyard_client import Client
from modelyard_client.errors import ClientError, TextTruncated
from modelyard_client.tasks import PassageEmbedder
from modelyard_ops.building import serve_scratch, server_on_free_ports
from modelyard_server.process import TritonServer
from support.candidates import declare_only
from support.silent import Silent
from support.small_passages import WIDTH, declare

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

TEXTS = ["my account", "The bank's loan: 12%", "日本 🎉 überweisung", "<pad> in a text </s>", "card " * 300]


@dataclass(frozen=True)
class Running:
    """The system as it was built, and a Triton over it."""

    ensemble: Ensemble
    result: pipeline.Result
    server: TritonServer

    def client(self, protocol: str = "grpc") -> Client:
        """Over one of the protocols."""
        return Client(f"{protocol}://{self.server.grpc_url if protocol == 'grpc' else self.server.http_url}")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = declare(tmp_path_factory.mktemp("weights"))
    repository = tmp_path_factory.mktemp("model_repository")
    with pytest.MonkeyPatch.context() as patch:
        declare_only(patch, *models, file="models/passage_embedder.py")
        results = pipeline.build([], repository, serve_scratch, Silent())
    with server_on_free_ports(repository) as server:
        yield Running(cast(Ensemble, models[-1]), results[-1], server)


def test_the_build_proves_and_evaluates_it(system: Running) -> None:
    """Same-label retrieval on 816 complaints, of PyTorch and as served."""
    assert system.result.built
    assert system.result.metrics["items"] == 816
    figures = [system.result.metrics[of] for of in ("pytorch", "served")]
    assert figures[0].keys() == figures[1].keys() == {"recall@10", "nDCG@10"}
    assert figures[0] == pytest.approx(figures[1], abs=0.001)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_vectors_are_pytorchs(system: Running, protocol: str) -> None:
    """Of short and long texts, other scripts, and a text that spells the token of padding."""
    files = fetch(pinned_assets(system.ensemble), print)
    expected = system.ensemble.reference(files, as_input(TEXTS))["embedding"]
    with system.client(protocol) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", TextTruncated)
        vectors = PassageEmbedder(client).embed(TEXTS)
    assert vectors.shape == (len(TEXTS), WIDTH)
    assert min_cosine(expected, vectors) >= 0.99999


def test_rows_are_as_wide_as_the_longest_text(system: Running) -> None:
    """Not as wide as tokenizer.json asks for; what fills them up is its token of padding, which is not 0."""
    with system.client() as client:
        answer = client.infer("passage_embedder_tokenizer", as_input(["my account", "my card and my loan"]))
    ids, mask = answer["input_ids"], answer["attention_mask"]
    assert ids.shape == (2, 16)
    np.testing.assert_array_equal(ids == TOKENS.padding, mask == 0)


def test_a_bad_text_fails_alone(system: Running) -> None:
    """Its request gets the sentence; 100,000 characters are cut off, and those beside them get their answers."""
    bad = {b"caf\xe9": "not valid UTF-8: byte 0xe9 at offset 3", b" \n": "is empty", b"x" * 200_001: "at most 200000"}
    elements = [b"my card", b"debt " * 20_000, *bad] * 3

    def embed(element: bytes) -> object:
        with system.client() as client:
            try:
                return client.infer("passage_embedder", {"text": np.array([[element]], dtype=np.object_)})["embedding"]
            except ClientError as error:
                return str(error)

    with ThreadPoolExecutor(len(elements)) as threads:
        answers = list(threads.map(embed, elements))
    for element, answer in zip(elements, answers, strict=True):
        if element in bad:
            assert bad[element] in str(answer)
        else:
            assert isinstance(answer, np.ndarray)
            np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1, atol=1e-5)


def test_what_is_cut_off_changes_nothing(system: Running) -> None:
    """The first 384 tokens count, and the client says what was cut."""
    with system.client() as client:
        with pytest.warns(TextTruncated, match=r"reads 384 tokens.*texts\[0\] \(20002\)"):
            long = PassageEmbedder(client).embed(["debt " * 20_000])
        np.testing.assert_allclose(long, PassageEmbedder(client).embed(["debt " * 382]), atol=1e-6)
