"""The image generator with its real weights, built into a repository of the tests' own, and served."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_build.image_figures import decoded
from modelyard_build.models.image_generator import GENERATOR, SIDE
from modelyard_build.repository import manifest, versions
from modelyard_client import Client
from modelyard_client.tasks import ImageGenerator
from modelyard_server.process import TritonServer
from support.own_systems import build_own

# Where nothing is cached, 100 MB are fetched and some 200 images go through PyTorch.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own configs, with versions that this module built (or found proven in the cache)."""
    return build_own(tmp_path_factory.mktemp("images") / "model_repository", GENERATOR.name)


def test_faces_are_lit_as_photographs_are(server: TritonServer) -> None:
    """All of the 256 levels are used, and few values are cut off at the ends: the contrast is that of the training."""
    with Client(f"grpc://{server.grpc_url}", deadline=300) as client:
        images = decoded(image.png for image in ImageGenerator(client).generate(seed=2026, count=12))
    assert images.shape == (12, SIDE, SIDE, 3)
    assert ((images == 0) | (images == 255)).mean() < 0.15
    assert 40 < images.std() < 90
    # Faces stand in the middle and have the colour of skin: more red than blue, in the mean of all.
    middle = images[:, 40:90, 40:90].reshape(-1, 3).mean(0)
    assert middle[0] > middle[1] > middle[2]


def test_a_seed_gives_the_same_bytes_again(server: TritonServer) -> None:
    """One image, or the third of three that are asked for beside others."""
    with Client(f"grpc://{server.grpc_url}", deadline=300) as client:
        generator = ImageGenerator(client)
        (alone,) = generator.generate(seed=4, count=1, first_index=2)
        beside = generator.generate(seed=5, count=3)
        next(beside)
        assert [*generator.generate(seed=4, count=3)][2] == alone
        assert len([*beside]) == 2


def test_the_manifest_tells_how_alike_the_images_are(repository: Path) -> None:
    """The served ones are PyTorch's but for rounding, and as different from one another."""
    latest = versions.latest(repository / GENERATOR.name)
    assert latest is not None
    found = manifest.read(latest).metrics
    assert found["served"] == pytest.approx(found["pytorch"], abs=1e-3)
    assert found["served"]["SSIM to PyTorch"] > 0.9999
    assert found["served"]["diversity"] > 0.2
    assert found["details"]["largest difference, of 255"] <= 1
