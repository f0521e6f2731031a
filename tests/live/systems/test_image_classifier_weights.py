"""The image classifier with its real weights, built into a repository of the tests' own, and served."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_build.assets import fetch
from modelyard_build.datasets import photographs
from modelyard_build.models.image_classifier import ENSEMBLE
from modelyard_build.repository import manifest, versions
from modelyard_client import Client
from modelyard_client.tasks import ImageClassifier
from modelyard_server.process import TritonServer
from support.own_systems import build_own

# Where nothing is cached, 250 MB are fetched and a thousand images run through PyTorch.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own configs, with versions that this module built (or found proven in the cache)."""
    return build_own(tmp_path_factory.mktemp("images") / "model_repository", ENSEMBLE.name)


def test_photographs_show_what_they_show(server: TritonServer) -> None:
    """A cat, a cup of espresso, a palace, a tripod, a moped: the most probable class names each."""
    files = fetch({name: photographs.VERIFIED[name] for name in photographs.CONTENTS}, print)
    with Client(f"grpc://{server.grpc_url}") as client:
        found = ImageClassifier(client).classify(list(files.values()))
    assert [classes[0][0] in names for classes, names in zip(found, photographs.CONTENTS.values(), strict=True)] == [
        True
    ] * len(photographs.CONTENTS)


def test_the_manifest_tells_how_good_it_is(repository: Path) -> None:
    """The served figures are PyTorch's, on images that no calibration saw, and better than chance by far."""
    latest = versions.latest(repository / ENSEMBLE.name)
    assert latest is not None
    figures = manifest.read(latest).metrics
    assert figures["served"] == pytest.approx(figures["pytorch"], abs=1e-3)
    assert figures["served"]["photographs right"] == 1
    assert figures["served"]["CIFAR-10 accuracy"] > 0.5
    assert not photographs.VERIFIED.keys() & photographs.CALIBRATION.keys()
