"""The triage with its real weights, built into a repository of the tests' own, and served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelyard_build.assets import fetch
from modelyard_build.datasets import chest_xrays
from modelyard_build.models.imaging_triage import ENSEMBLE, TEMPERATURE
from modelyard_build.recipes.imaging_triage import fitted
from modelyard_build.repository import manifest, versions
from modelyard_client import Client
from modelyard_client.tasks import ImagingTriage
from modelyard_server.process import TritonServer
from support.own_systems import build_own

# Where nothing is cached, 83 MB are fetched and hundreds of images run through PyTorch.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[3]
# What Keras 3.15.1 (on PyTorch) answers to the X-rays in the order of `chest_xrays.XRAYS`, read and prepared as the
# package's own code does it: `load_img` by the nearest pixels, `xception.preprocess_input`, `predict`.
OF_KERAS = (
    (0.7774667, -0.3207074),
    (2.9691434, -0.4112346),
    (0.9754016, 0.3698806),
    (1.8036500, 1.2847817),
    (2.0915673, -0.7452440),
    (-0.2660362, 2.7512577),
    (2.8015478, -0.1949082),
    (1.3607609, 0.8139041),
    (-2.1421580, 5.3683305),
    (-1.0029526, 3.1833982),
    (-0.5467605, 4.7984705),
    (0.6237706, 0.4306984),
    (1.1175158, 0.3527018),
    (-0.9821227, 2.2144370),
    (-2.3362055, 6.4495859),
    (0.8503408, 0.9510489),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own configs, with versions that this module built (or found proven in the cache)."""
    return build_own(tmp_path_factory.mktemp("triage") / "model_repository", ENSEMBLE.name)


@pytest.fixture(scope="module")
def xrays() -> list[bytes]:
    """The sixteen, as they are."""
    return [path.read_bytes() for path in fetch(chest_xrays.XRAYS, print).values()]


def test_the_served_scores_are_those_of_keras(server: TritonServer, xrays: list[bytes]) -> None:
    """Decoding and net, against the framework that the weights were made with."""
    with Client(f"grpc://{server.grpc_url}") as client:
        images = [{"image": np.array([[content]], np.object_)} for content in xrays]
        scores = [result["scores"][0] for result in client.infer_many(ENSEMBLE.name, images)]
    np.testing.assert_allclose(scores, OF_KERAS, atol=5e-5)


def test_it_finds_what_the_package_finds(server: TritonServer, xrays: list[bytes]) -> None:
    """13 of 16 right, and no pneumonia waits."""
    with Client(f"grpc://{server.grpc_url}") as client:
        found = ImagingTriage(client).triage(xrays, urgent=True)
    known = [chest_xrays.LABELS[chest_xrays.finding_of(name)] for name in chest_xrays.XRAYS]
    assert sum(triage.label == label for triage, label in zip(found, known, strict=True)) == 13
    assert all(triage.urgent for triage, label in zip(found, known, strict=True) if label == chest_xrays.PNEUMONIA)


def test_the_temperature_is_what_the_recipe_fits() -> None:
    """And by it the probabilities are nearer to what is the case."""
    found, measured = fitted()
    assert round(found, 2) == TEMPERATURE
    assert all(measured["in-sample"][name] < measured["before"][name] for name in measured["before"])


def test_the_manifest_tells_what_calibration_brought(repository: Path) -> None:
    """Before, after, in-sample and leave-one-out, and how few X-rays it was; the served figures are PyTorch's."""
    latest = versions.latest(repository / ENSEMBLE.name)
    assert latest is not None
    figures = manifest.read(latest).metrics
    assert figures["served"] == pytest.approx(figures["pytorch"], abs=1e-3)
    error = figures["details"]["calibration error"]
    for way in ("in-sample", "leave-one-out"):
        assert error[way] == pytest.approx(figures["served"][f"calibration error, {way}"], abs=1e-4)
        assert error[way] < error["before"]
    assert figures["items_are"] == "views of 16 X-rays"
    assert (figures["details"]["X-rays"], figures["details"]["X-rays right"]) == (16, 13)
