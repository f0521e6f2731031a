"""The demand forecaster with its real weights and data, built into a repository of the tests' own, and served."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from modelyard_build.assets import fetch
from modelyard_build.datasets import m5, m5_windows
from modelyard_build.models.demand_forecaster import DAILY, ENSEMBLE
from modelyard_build.nets.demand_inputs import CONTEXT, HORIZON
from modelyard_build.repository import manifest, versions
from modelyard_client import Client
from modelyard_client.tasks import DailyDemand, DemandForecaster, Series
from modelyard_server.process import TritonServer
from support.own_systems import build_own

# Where nothing is cached, 61 MB are fetched.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own configs, with versions that this module built (or found proven in the cache)."""
    return build_own(tmp_path_factory.mktemp("demand") / "model_repository", ENSEMBLE.name)


def series_of(name: str, days: int) -> Series:
    """The newest days of a series, with its last prices as those to come."""
    demand = m5.load(fetch(m5.ASSETS, print))
    row, last = demand.names.index(name), demand.units.shape[1]
    newest = date.fromisoformat(str(demand.dates[last - 1]))
    return Series(demand.units[row, -days:], demand.prices[row, last - days : last + HORIZON], newest)


def test_more_is_sold_at_weekends(server: TritonServer) -> None:
    """Of a food that sells best then: what the net learned of weekdays shows, and the quantiles stand in order."""
    with Client(f"grpc://{server.grpc_url}") as client:
        (forecast,) = DemandForecaster(client).forecast([series_of("FOODS_3_090_CA_1", 800)])
    weekend = np.array([day.weekday() >= 5 for day in forecast.dates])
    assert forecast.mean[weekend].mean() > forecast.mean[~weekend].mean()
    assert (np.diff(forecast.quantiles, axis=1) >= 0).all()


def test_the_last_days_sent_one_by_one(server: TritonServer) -> None:
    """The same forecast, element for element, as of the whole history."""
    whole = series_of("FOODS_3_090_CA_1", CONTEXT + 5)
    prices, units = np.asarray(whole.prices), np.asarray(whole.history)
    begun = Series(units[:CONTEXT], prices[: CONTEXT + HORIZON], whole.last_date - timedelta(5))
    with Client(f"grpc://{server.grpc_url}") as client:
        (expected,) = DemandForecaster(client).forecast([whole])
        with DailyDemand(client).series(begun) as shop:
            for place in range(CONTEXT, CONTEXT + 5):
                found = shop.day(float(units[place]), prices[place : place + 1 + HORIZON])
    assert found is not None
    np.testing.assert_array_equal(found.quantiles, expected.quantiles)
    np.testing.assert_array_equal(found.mean, expected.mean)


def test_the_manifests_tell_how_good_it_is(repository: Path) -> None:
    """The served figures are PyTorch's, and better than those of what anybody has; the stateful form was proven."""
    latest, daily = (versions.latest(repository / name) for name in (ENSEMBLE.name, DAILY.name))
    assert latest is not None
    assert daily is not None
    metrics = manifest.read(latest).metrics
    assert metrics["served"] == pytest.approx(metrics["pytorch"], abs=1e-3)
    for figure, value in metrics["served"].items():
        assert value < metrics["details"]["28-day mean"][figure] < metrics["details"]["seasonal naive"][figure]
    sold = metrics["details"]["sold at most"]
    assert list(sold) == [str(level) for level in m5_windows.LEVELS]
    assert sold["0.975"] == pytest.approx(0.975, abs=0.02)
