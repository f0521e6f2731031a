"""What the demand forecaster is made of and judged by: M5's files, windows, figures, the net, the trained weights."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors import safe_open

from modelyard_build.datasets import m5, m5_windows
from modelyard_build.datasets.m5 import Demand
from modelyard_build.model import Arrays
from modelyard_build.models import demand_forecaster as declared
from modelyard_build.nets import demand_inputs
from modelyard_build.nets.demand_forecaster import QUANTILES, WEIGHTS_FILE, DemandForecaster, load_forecaster
from modelyard_build.nets.demand_inputs import CONTEXT, HORIZON
from modelyard_build.recipes import demand_forecaster as recipe
from support.small_demand import LAST_DATE, day, request

DAYS = 1000


@pytest.fixture(scope="module")
def demand() -> Demand:
    """Six series of random sales, of which each begins later than the one before it."""
    generator = np.random.default_rng(5)
    starts = np.array([0, 10, 300, 500, 900, 960])
    units = generator.poisson(2, (6, DAYS)).astype(np.float32)
    units[np.arange(DAYS) < starts[:, None]] = 0
    units[np.arange(6), starts] = 1
    return Demand(
        names=tuple("abcdef"),
        units=units,
        starts=starts,
        prices=(1 + generator.random((6, DAYS + 56))).astype(np.float32),
        dates=np.datetime64("2013-07-01") + np.arange(DAYS + 56),
        events=(generator.random((DAYS + 56, 4)) < 0.05).astype(np.uint8),
        snap=(generator.random((6, DAYS + 56)) < 0.3).astype(np.uint8),
    )


def test_m5s_files_are_read(tmp_path: Path) -> None:
    """Weekly prices become daily ones, NaN before a product had one; each store has its state's SNAP days."""
    days = ", ".join(f"{value} as d_{day}" for day, value in enumerate([0, 2, 5], start=1))
    other = ", ".join(f"{value} as d_{day}" for day, value in enumerate([1, 0, 0], start=1))
    tables = {
        "m5 sales": f"""
            select 'A_1_CA_1_validation' as id, 'A_1' as item_id, 'CA_1' as store_id, 'CA' as state_id, {days}
            union all select 'A_1_TX_2_validation', 'A_1', 'TX_2', 'TX', {other}""",
        "m5 prices": """
            select * from (values ('CA_1', 'A_1', 2::bigint, 1.5), ('TX_2', 'A_1', 1, 3.0), ('TX_2', 'A_1', 2, 4.0))
            as t(store_id, item_id, wm_yr_wk, sell_price)""",
        "m5 calendar": """
            select * from (values
                ('2011-01-30', 2::bigint, 'Easter', 'Cultural', 'OrthodoxEaster', 'Religious', 0::bigint, 1::bigint),
                ('2011-01-29', 1, null, null, null, null, 1, 0), ('2011-01-31', 2, 'X', 'National', null, null, 0, 0))
            as t(date, wm_yr_wk, event_name_1, event_type_1, event_name_2, event_type_2, snap_CA, snap_TX)""",
    }
    files = {name: tmp_path / f"{name}.parquet" for name in tables}
    for name, query in tables.items():
        duckdb.sql(f"copy ({query}) to '{files[name]}' (format parquet)")
    found = m5.load(files)
    assert found.names == ("A_1_CA_1", "A_1_TX_2")
    assert found.units.tolist() == [[0, 2, 5], [1, 0, 0]]
    assert found.starts.tolist() == [1, 0]
    assert found.dates.astype(str).tolist() == ["2011-01-29", "2011-01-30", "2011-01-31"]
    assert found.events.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    assert found.snap.tolist() == [[1, 0, 0], [0, 1, 0]]
    np.testing.assert_array_equal(found.prices, np.array([[np.nan, 1.5, 1.5], [3, 4, 4]], np.float32))


def test_training_ends_before_validation_and_that_before_the_test() -> None:
    """No day that is to be forecast is one that something was trained or chosen by."""
    assert min(recipe.VALIDATION_ORIGINS) >= recipe.LAST_ORIGIN + HORIZON
    assert max(recipe.VALIDATION_ORIGINS) + HORIZON <= min(m5_windows.TEST_ORIGINS)
    assert max(m5_windows.TEST_ORIGINS) + HORIZON == 1913
    assert max(declared.CALIBRATION_ORIGINS) <= recipe.LAST_ORIGIN


def test_the_recipe_draws_what_was_before_the_validation(demand: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known days are those since the first sale, four weeks at least, cut now and then; none of the days to come."""
    monkeypatch.setattr(recipe, "LAST_ORIGIN", 930)
    later = Demand(**{**vars(demand), "units": demand.units.copy()})
    later.units[:, 930 + HORIZON :] = 999
    inputs, truth = recipe.draw(later, np.random.default_rng(1))
    known = inputs["past"][..., 1].sum(1)
    assert float(known.min()) >= HORIZON
    assert float(known.max()) == CONTEXT
    assert float(inputs["past"].max()) < 999
    assert float(truth.max()) < 999
    assert not inputs["past"][..., 0][inputs["past"][..., 1] == 0].any()


def test_the_recipe_reads_windows_as_the_step_does(demand: Demand) -> None:
    """The same window, cut out of the table at once and out of a request."""
    series, origins = np.array([0, 1]), np.array([700, 650])
    for days in (CONTEXT, 100):
        asked = m5_windows.requests(demand, series, origins, days)
        drawn = recipe.net_inputs(demand, series, origins, np.full(2, days))
        for name, array in demand_inputs.net_inputs(asked).items():
            np.testing.assert_array_equal(drawn[name].numpy(), array)


def test_windows_are_of_series_that_were_there(demand: Demand) -> None:
    """Four weeks since the first sale; and what is known of a window is what came before and after."""
    series, origins = m5_windows.held_out(demand, (520, 930))
    assert list(zip(series.tolist(), origins.tolist(), strict=True)) == [
        *((number, 520) for number in range(3)),
        *((number, 930) for number in range(5)),
    ]
    truth = m5_windows.truth_of(demand, series[3:4], origins[3:4])[0]
    units = demand.units[0]
    np.testing.assert_array_equal(truth[m5_windows.BEFORE], units[902:930])
    np.testing.assert_array_equal(truth[m5_windows.AFTER], units[930:958])
    assert truth[m5_windows.VARIATION] == pytest.approx(np.mean((units[1:930] - units[:929]) ** 2), rel=1e-6)
    assert truth[m5_windows.REVENUE] == pytest.approx(float(units[902:930] @ demand.prices[0, 902:930]), rel=1e-6)


def known_truth() -> npt.NDArray[np.float32]:
    """Two windows: one sold 1 a day before and 3 after, one 2 and 2; variations 4 and 1, revenues 1 and 3."""
    truth = np.zeros((2, 58), np.float32)
    truth[:, m5_windows.BEFORE] = [[1], [2]]
    truth[:, m5_windows.AFTER] = [[3], [2]]
    truth[:, m5_windows.VARIATION :] = [[4, 1], [1, 3]]
    return truth


def test_figures_by_hand() -> None:
    """Scaled by each series' own variation, weighted by revenue; the pinball loss over all units."""
    outputs = {"mean": np.ones((2, 28)), "quantiles": np.full((2, 28, 9), 2.0)}
    found = m5_windows.figures(outputs, known_truth())
    # sqrt(4 / 4) and sqrt(1 / 1)
    assert found["RMSSE"] == pytest.approx(1)
    assert found["weighted RMSSE"] == pytest.approx(1)
    # 1 too few on each of 28 days, which costs its level: 0.5 on average; 140 units.
    assert found["weighted quantile loss"] == pytest.approx(2 * 28 * 0.5 / 140)


def test_plain_forecasts_by_hand() -> None:
    """The last week again, and the mean with the quantiles of the same days."""
    truth = known_truth()
    truth[0, 21:28] = np.arange(7)
    plain = m5_windows.plain_forecasts(truth)
    np.testing.assert_array_equal(plain["seasonal naive"]["mean"][0], np.tile(np.arange(7), 4))
    np.testing.assert_array_equal(plain["seasonal naive"]["quantiles"][0, :, 0], np.tile(np.arange(7), 4))
    assert plain["28-day mean"]["mean"][0, 5] == pytest.approx((21 + 21) / 28)
    assert plain["28-day mean"]["quantiles"][0, 0, 4] == 1
    # 3 a day were sold where 0 to 6 were forecast, and 2 where 2 were.
    assert m5_windows.coverage(plain["seasonal naive"], truth)["0.5"] == pytest.approx((4 / 7 + 1) / 2, abs=1e-4)


def net_of(inputs: Arrays, net: DemandForecaster) -> tuple[Any, Any]:
    """Quantiles [items, 28, 9] and mean [items, 28] of requests."""
    features = demand_inputs.net_inputs(inputs)
    with torch.inference_mode():
        quantiles, mean = net(**{name: torch.from_numpy(array) for name, array in features.items()})
    return quantiles.numpy(), mean.numpy()


@pytest.mark.parametrize("days", [28, 100, 392])
def test_quantiles_do_not_cross(days: int) -> None:
    """Of the trained net, on a series that nobody sold, one that sells thousands, and one that begins."""
    net = load_forecaster()
    for factor in (0, 1, 3000):
        inputs = {**request(days), "history": request(days)["history"] * factor}
        quantiles, mean = net_of(inputs, net)
        assert np.isfinite(quantiles).all()
        assert np.isfinite(mean).all()
        assert (np.diff(quantiles, axis=-1) >= 0).all()
        assert quantiles.min() >= 0
        assert mean.min() > 0


def test_days_that_are_not_known_say_nothing() -> None:
    """What stands in a day before the first known one does not reach the answer."""
    torch.manual_seed(3)
    net = DemandForecaster().eval()
    features = demand_inputs.net_inputs(request(60))
    spoilt = {name: array.copy() for name, array in features.items()}
    unknown = spoilt["past"][..., 1] == 0
    # Prices, events and SNAP; units of unknown days are 0 by contract.
    spoilt["past"][unknown, 2:] = [7, 1, 1]
    with torch.inference_mode():
        right, found = (
            net(**{name: torch.from_numpy(array) for name, array in one.items()}) for one in (features, spoilt)
        )
    recent_is_known = not unknown[:, -56:].any()
    assert recent_is_known
    torch.testing.assert_close(found, right)


def test_the_trained_weights_beat_what_anybody_has() -> None:
    """As the recipe measured on the test windows: each figure against both plain forecasts; it names its data."""
    assert WEIGHTS_FILE.stat().st_size < 1 << 20
    with safe_open(WEIGHTS_FILE, "np") as file:
        record = json.loads(file.metadata()["modelyard"])
        parameters = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118  # it is no mapping
    assert parameters < 250_000
    assert record["sha256"] == {name: asset.sha256 for name, asset in m5.ASSETS.items()}
    assert record["settings"]["steps"] == recipe.STEPS
    test = record["test"]
    for plain in ("seasonal naive", "28-day mean"):
        for figure, value in test["demand_forecaster"].items():
            assert value < test[plain][figure]
    assert test["demand_forecaster"]["RMSSE"] < 0.7


def test_training_learns(demand: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps lower the loss, the same steps give the same weights."""
    monkeypatch.setattr(recipe, "LAST_ORIGIN", 930)
    monkeypatch.setattr(recipe, "BATCH_SIZE", 32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        nets = [recipe.train(demand, 30) for _ in range(2)]
    finally:
        torch.set_num_threads(threads)
    hashes = {hashlib.sha256(b"".join(t.numpy().tobytes() for t in net.state_dict().values())).digest() for net in nets}
    assert len(hashes) == 1
    torch.manual_seed(recipe.SEED)
    batch = recipe.draw(demand, np.random.default_rng(0))
    with torch.inference_mode():
        assert recipe.loss(nets[0], *batch) < recipe.loss(DemandForecaster(), *batch)


def test_levels_are_the_same_everywhere() -> None:
    """The net's width, and the parameter that clients read."""
    assert len(m5_windows.LEVELS) == QUANTILES
    root = Path(__file__).parents[2] / "model_repository"
    for name in ("demand_forecaster", "demand_forecaster_daily"):
        assert f'"{" ".join(declared.LEVELS)}"' in (root / name / "config.pbtxt").read_text()


def test_the_stateful_reference_is_the_stateless_one() -> None:
    """A sequence's requests, joined, are the request of the whole history; too few days have no forecast."""
    inputs = {
        name: np.concatenate([_day(number)[name] for number in range(30)])
        for name in ("units", "prices", "events", "snap", "last_date")
    }
    found = declared.daily_reference({}, inputs)
    assert found["days_missing"][:, 0].tolist() == [*range(27, 0, -1), 0, 0, 0]
    assert np.isnan(found["mean"][:27]).all()
    last = declared.reference({}, request(30))
    np.testing.assert_array_equal(found["quantiles"][29], last["quantiles"][0])


def _day(number: int) -> Arrays:
    return day(1, last=LAST_DATE - timedelta(29 - number))
