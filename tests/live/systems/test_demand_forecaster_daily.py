"""A day at a time: the stateful form of the demand forecaster, in front of a small net."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from modelyard_build.models.demand_forecaster import DAILY, ENSEMBLE
from modelyard_client import AsyncClient, Client
from modelyard_client.errors import ClientError, InvalidInput, SequenceLost
from modelyard_client.tasks import AsyncDailyDemand, DailyDemand, Forecast
from modelyard_server.process import TritonServer
from support.small_demand import LAST_DATE, day, expected, request, series, write_small_demand, write_step
from support.triton import options_on_free_ports

pytestmark = pytest.mark.live

# A copy of it that forgets soon.
HASTY = "demand_forecaster_hasty"
IDLE_S = 1.0


def days_on(number: int) -> date:
    """So many days after the first request's last one."""
    return LAST_DATE + timedelta(number)


def write_hasty(repository: Path) -> None:
    """As the project's own config, but for the idle time."""
    folder = repository / HASTY
    shutil.copytree(repository / DAILY.name, folder)
    config = (folder / "config.pbtxt").read_text()
    config = config.replace("microseconds: 129600000000", f"microseconds: {int(IDLE_S * 1e6)}")
    (folder / "config.pbtxt").write_text(config)
    assert str(int(IDLE_S * 1e6)) in config


@pytest.fixture(scope="module")
def server(serve: Callable[[Path], TritonServer], tmp_path_factory: pytest.TempPathFactory) -> TritonServer:
    """An embedded Triton over the four models, and the hasty one."""
    repository = write_small_demand(tmp_path_factory.mktemp("model_repository"))
    write_hasty(repository)
    return serve(repository)


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Iterator[Client]:
    """A client of it."""
    with Client(f"grpc://{server.grpc_url}", deadline=30) as opened:
        yield opened


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_day_at_a_time_is_as_all_at_once(server: TritonServer, protocol: str) -> None:
    """Element for element, from a history that is short, and from one that is longer than what is kept."""
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with Client(f"{protocol}://{url}", deadline=30) as client:
        for begun, brought in ((30, (1, 1, 1, 3, 28)), (700, (1, 2))):
            with client.sequence(DAILY.name) as sequence:
                known, total = begun, 0
                found = [sequence.infer(day(begun))]
                for place, days in enumerate(brought, start=1):
                    total += days
                    found.append(sequence.infer(day(days, last=days_on(total)), end=place == len(brought)))
            for answer, total in zip(found, np.cumsum([0, *brought]), strict=True):
                whole = client.infer(ENSEMBLE.name, request(known + int(total), last=days_on(int(total))))
                assert answer["days_missing"].tolist() == [[0]]
                for name in ("quantiles", "mean"):
                    np.testing.assert_array_equal(answer[name], whole[name])


def test_too_few_days_are_counted_down(client: Client) -> None:
    """Until the forecaster has what it needs: no error, and no number that looks like a forecast."""
    with client.sequence(DAILY.name) as sequence:
        missing = []
        for number in range(3):
            answer = sequence.infer(day(26 if not number else 1, last=days_on(number)), end=number == 2)
            missing.append(int(answer["days_missing"].item()))
            assert bool(np.isnan(answer["quantiles"]).all()) == bool(np.isnan(answer["mean"]).all()) == (number < 2)
    assert missing == [2, 1, 0]


async def test_series_do_not_mix(server: TritonServer) -> None:
    """Many at once, each with its own history: the requests of several share a batch."""
    async with AsyncClient(f"grpc://{server.grpc_url}", deadline=60) as client:

        async def one(seed: int) -> None:
            async with client.sequence(DAILY.name) as sequence:
                for number in range(4):
                    answer = await sequence.infer(day(40 if not number else 1, seed, days_on(number)), end=number == 3)
                    right = expected(request(40 + number, seed, days_on(number)))
                    np.testing.assert_allclose(answer["quantiles"], right, rtol=1e-5)

        await asyncio.gather(*(one(seed) for seed in range(32)))


def test_no_start(client: Client) -> None:
    """A sequence that the server does not know is told so, and what to do."""
    with pytest.raises(SequenceLost, match=r"Start a new sequence with its history"):
        client.infer(DAILY.name, day(1), sequence_id=4711)


def test_no_sequence_id(client: Client) -> None:
    """Nobody's series is nobody's."""
    with pytest.raises(ClientError, match="serves sequences: use `sequence`, or pass sequence_id"):
        client.infer(DAILY.name, day(40), sequence_start=True)


def test_days_that_do_not_go_on(client: Client) -> None:
    """The same day again, a gap between the days: an error that says where the series stands, and leaves it there."""
    with client.sequence(DAILY.name) as sequence:
        sequence.infer(day(40))
        with pytest.raises(
            InvalidInput, match=r"last_date is 2016-04-24, expected 2016-04-25.*That day was sent befor"
        ):
            sequence.infer(day(1))
        with pytest.raises(InvalidInput, match=r"last_date is 2016-04-27, expected 2016-04-25.*every day between"):
            sequence.infer(day(1, last=days_on(3)))
        answer = sequence.infer(day(1, last=days_on(1)), end=True)
    np.testing.assert_allclose(answer["quantiles"], expected(request(41, last=days_on(1))), rtol=1e-5)


def test_a_bad_day_is_not_kept(client: Client) -> None:
    """Gaps, negative units, no price, no date: the series stands where it stood, and goes on."""
    good = day(1, last=days_on(1))
    bad = [
        ({**good, "units": np.array([[np.nan]], np.float32)}, r"units\[0\] is nan, expected units sold"),
        ({**good, "units": np.array([[-2]], np.float32)}, r"units\[0\] is -2\.0"),
        ({**good, "prices": np.zeros_like(good["prices"])}, r"prices\[0\] is 0\.0, expected a price above 0"),
        ({**good, "prices": good["prices"][:, 1:]}, r"prices has 28 days, expected 29: the 1 of units and the 28"),
        ({**good, "events": good["events"] + 2}, r"events\[0\]\[0\] is [23], expected 0 or 1"),
        ({**good, "last_date": np.array([[b"tomorrow"]], dtype=np.object_)}, r"last_date is b'tomorrow', expected"),
    ]
    with client.sequence(DAILY.name) as sequence:
        sequence.infer(day(40))
        for inputs, words in bad:
            with pytest.raises(InvalidInput, match=words):
                sequence.infer(inputs)
        answer = sequence.infer(good, end=True)
    np.testing.assert_allclose(answer["quantiles"], expected(request(41, last=days_on(1))), rtol=1e-5)


async def test_bad_days_fail_alone(server: TritonServer) -> None:
    """In one batch with requests of other series, which get their forecasts, each by its own history."""
    async with AsyncClient(f"grpc://{server.grpc_url}", deadline=60) as client:

        async def one(seed: int, bad: float | None) -> None:
            async with client.sequence(DAILY.name) as sequence:
                for number in range(3):
                    asked = day(40 if not number else 1, seed, days_on(number))
                    if bad is not None:
                        # Also the first one: with a history that is refused no series begins.
                        with pytest.raises(InvalidInput, match=rf"units\[0\] is {bad}, expected units sold"):
                            await sequence.infer({**asked, "units": np.full_like(asked["units"], bad)})
                    answer = await sequence.infer(asked, end=number == 2)
                    right = expected(request(40 + number, seed, days_on(number)))
                    np.testing.assert_allclose(answer["quantiles"], right, rtol=1e-5)

        await asyncio.gather(*(one(seed, (None, -1.0, np.nan, np.inf)[seed % 4]) for seed in range(24)))


def test_two_clients_on_one_id(client: Client) -> None:
    """The one who starts last has the series; the other's next day says that it is not his any more."""
    with client.sequence(DAILY.name, 99) as first, client.sequence(DAILY.name, 99) as second:
        first.infer(day(40, seed=1))
        second.infer(day(50, seed=2))
        second.infer(day(1, seed=2, last=days_on(1)))
        with pytest.raises(InvalidInput, match="perhaps by another client under the same sequence id"):
            first.infer(day(1, seed=1, last=days_on(1)))
        answer = second.infer(day(1, seed=2, last=days_on(2)), end=True)
    np.testing.assert_allclose(answer["quantiles"], expected(request(52, 2, days_on(2))), rtol=1e-5)


def test_an_ended_id_begins_anew(client: Client) -> None:
    """Nothing of the old series is left, and it cannot go on."""
    with client.sequence(DAILY.name, 77) as sequence:
        sequence.infer(day(40), end=True)
    with pytest.raises(SequenceLost, match="history"):
        client.infer(DAILY.name, day(1, last=days_on(1)), sequence_id=77)
    with client.sequence(DAILY.name, 77) as sequence:
        answer = sequence.infer(day(29, seed=5), end=True)
    np.testing.assert_allclose(answer["quantiles"], expected(request(29, 5)), rtol=1e-5)


def test_an_abandoned_series_is_forgotten(client: Client) -> None:
    """After the model's idle time: the next day says so, and the history begins it again."""
    with client.sequence(HASTY) as sequence:
        sequence.infer(day(40))
        time.sleep(2 * IDLE_S)
        with pytest.raises(SequenceLost, match="it was idle for longer than"):
            sequence.infer(day(1, last=days_on(1)))
    with client.sequence(HASTY) as sequence:
        answer = sequence.infer(day(41, last=days_on(1)), end=True)
    np.testing.assert_allclose(answer["quantiles"], expected(request(41, last=days_on(1))), rtol=1e-5)


def test_the_task_goes_from_day_to_day(client: Client) -> None:
    """Its forecasts are those of the whole history; other prices change nothing; at the end the server forgets."""
    whole = request(43, last=days_on(3))
    with DailyDemand(client).series(series(40)) as shop:
        assert isinstance(shop.forecast, Forecast)
        for number in (1, 2, 3):
            units = float(whole["history"][0, 39 + number])
            forecast = shop.day(units, whole["prices"][0, 39 + number : 68 + number])
        assert forecast is not None
        np.testing.assert_allclose(forecast.quantiles, expected(request(43, last=days_on(3)))[0], rtol=1e-5)
        assert forecast.dates[0] == days_on(4)
        cheap = shop.with_prices(0.5)
        assert cheap is not None
        assert (cheap.quantiles < forecast.quantiles).all()
        again = shop.with_prices(whole["prices"][0, 43:])
        assert again is not None
        np.testing.assert_array_equal(again.quantiles, forecast.quantiles)
        known_as = int(shop.id)
    with pytest.raises(SequenceLost):
        client.infer(DAILY.name, day(1, last=days_on(4)), sequence_id=known_as)


async def test_the_async_task_counts_down_too(server: TritonServer) -> None:
    """No forecast while days are missing, and how many are."""
    async with (
        AsyncClient(f"grpc://{server.grpc_url}", deadline=30) as client,
        AsyncDailyDemand(client).series(series(27)) as shop,
    ):
        assert (shop.forecast, shop.days_missing) == (None, 1)
        assert await shop.day(2, 3.97) is not None
        assert shop.days_missing == 0
        with pytest.raises(InvalidInput, match=r"units\[0\] is -1\.0"):
            await shop.day(-1, 3.97)
        assert await shop.with_prices(3.97) is not None


def test_a_restarted_server_has_lost_the_series(tmp_path: Path) -> None:
    """The next day is told to send the history again; with it the series goes on."""
    folder = write_step(tmp_path, DAILY.name)
    shutil.copyfile(DAILY.source, folder / "1" / "model.py")
    options = options_on_free_ports(tmp_path)
    with Client(f"grpc://127.0.0.1:{options.grpc_port}", deadline=30) as client:
        # Fewer days than a forecast needs: the forecaster is not asked, and need not be there.
        with TritonServer(options) as server:
            sequence = client.sequence(DAILY.name).__enter__()
            assert sequence.infer(day(10))["days_missing"].item() == 18
            with pytest.raises(ClientError, match="Model 'demand_forecaster' is not ready"):
                sequence.infer(day(18, last=days_on(18)))
            os.kill(server.state.pid, signal.SIGKILL)
        with TritonServer(options):
            with pytest.raises(SequenceLost, match=r"the server was restarted\. Start a new sequence with its history"):
                sequence.infer(day(1, last=days_on(1)))
            with DailyDemand(client).series(series(11, last=days_on(1))) as shop:
                assert shop.days_missing == 17
