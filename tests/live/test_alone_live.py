"""A model that no ensemble uses: proven through a real Triton before it is published, as are its candidates."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard_build import pipeline, reverify
from modelyard_build.errors import ServeFailed, VerificationFailed
from modelyard_build.model import Arrays
from modelyard_build.repository import manifest
from modelyard_ops.building import ServedRepository, serve_scratch
from support.candidates import Steps, declare_only, short_rounds
from support.small_models import POOLER
from support.triton import fresh_cache

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
# Two shapes are enough here: each is asked of a server over both protocols.
SMALL = replace(POOLER, max_batch_size=2, optimum_batch_size=2)


@pytest.fixture(autouse=True)
def only_the_pooler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One declared model, and nothing proven before."""
    fresh_cache(tmp_path, monkeypatch)
    short_rounds(monkeypatch)
    declare_only(monkeypatch, SMALL)


def test_what_is_published_was_proven_through_triton(tmp_path: Path) -> None:
    """Both protocols stand in the manifest with the figures; a candidate has its own proof; both hold again."""
    pipeline.build([], tmp_path / "repo", serve_scratch, Steps(), ["openvino-fp32"])
    found = manifest.read(tmp_path / "repo" / "pooler" / "1")
    assert set(found.verification) == {"grpc", "http"}
    assert found.verification["http"]["scores"]["max_error"] <= 1e-5
    assert set(found.candidates["openvino-fp32"]["served"]["pooler"]) == {"grpc"}
    again = list(reverify.verify([], tmp_path / "repo", serve_scratch, Steps()))
    assert [finding.failed for finding in again] == [""] * len(again)
    assert "through Triton" in {finding.what for finding in again}


class Off:
    """A real server's answers, a little off."""

    def __init__(self, served: ServedRepository) -> None:
        self.served = served

    def infer(self, model: str, inputs: Arrays, protocol: str) -> Arrays:
        """One element of the answer is another."""
        answers = self.served.infer(model, inputs, protocol)
        answers["scores"][0, 0] += 0.01
        return answers


def test_an_answer_that_is_off_is_not_published(tmp_path: Path) -> None:
    """What the graph answers right and the server does not is refused, and no version stands."""

    @contextlib.contextmanager
    def serve(repository: Path) -> Iterator[Off]:
        with serve_scratch(repository) as served:
            yield Off(served)

    with pytest.raises(VerificationFailed, match=r"pooler: output 'scores' differs from PyTorch by 0\.01"):
        pipeline.build([], tmp_path / "repo", serve, Steps())
    assert not list((tmp_path / "repo").glob("*/1"))


def test_a_config_that_triton_refuses_is_not_published(tmp_path: Path) -> None:
    """A setting that the backend does not take: the server's own reason, and no version."""
    folder = tmp_path / "repo" / "pooler"
    pipeline.build([], tmp_path / "repo", serve_scratch, Steps())
    path = folder / "config.pbtxt"
    with path.open("a") as config:
        config.write('parameters { key: "execution_mode", value: { string_value: "7" } }\n')
    shutil.rmtree(folder / "1")
    with pytest.raises(ServeFailed, match="execution_mode"):
        pipeline.build([], tmp_path / "repo", serve_scratch, Steps())
    assert not (folder / "1").exists()
