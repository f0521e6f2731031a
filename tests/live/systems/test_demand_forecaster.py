"""Sales in, forecasts out: the project's own configs and steps, in front of a small net."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from modelyard_build.model import Array, Arrays
from modelyard_build.models.demand_forecaster import ENSEMBLE, FEATURES
from modelyard_build.nets.demand_inputs import net_inputs
from modelyard_client import AsyncClient, Client
from modelyard_client.errors import ClientError, InvalidInput
from modelyard_client.tasks import AsyncDemandForecaster, DemandForecaster
from modelyard_server.process import TritonServer
from support.small_demand import LAST_DATE, expected, request, series, write_small_demand

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server(serve: Callable[[Path], TritonServer], tmp_path_factory: pytest.TempPathFactory) -> TritonServer:
    """An embedded Triton over the four models."""
    return serve(write_small_demand(tmp_path_factory.mktemp("model_repository")))


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Iterator[Client]:
    """A client of it."""
    with Client(f"grpc://{server.grpc_url}", deadline=30) as opened:
        yield opened


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_series_gets_its_forecast(server: TritonServer, protocol: str) -> None:
    """Short, as long as the net reads, and longer: as numpy computes it, over both protocols."""
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with Client(f"{protocol}://{url}") as client:
        for days in (28, 392, 700):
            inputs = request(days)
            found = client.infer(ENSEMBLE.name, inputs)
            assert found["quantiles"].dtype == found["mean"].dtype == np.float32
            np.testing.assert_allclose(found["quantiles"], expected(inputs), rtol=1e-5)
            np.testing.assert_allclose(found["mean"], expected(inputs).mean(-1), rtol=1e-5)


@pytest.mark.parametrize("last", ["2015-11-01", "2015-12-20", "2016-02-28"])
def test_the_step_gives_what_the_net_was_trained_with(client: Client, last: str) -> None:
    """Element for element, over Thanksgiving, Christmas, a new year and a leap day, several series in a request."""
    parts = [request(60, seed, LAST_DATE - timedelta(100)) for seed in (1, 2, 3)]
    inputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    inputs["last_date"][1:] = last.encode()
    found = client.infer(FEATURES.name, inputs)
    for name, right in net_inputs(inputs).items():
        np.testing.assert_array_equal(found[name], right)


def changed(name: str, place: tuple[int, ...], value: object) -> Arrays:
    """A good request but for one value."""
    inputs = {key: array.copy() for key, array in request(40).items()}
    inputs[name][place] = value
    return inputs


def bad() -> list[tuple[Arrays, str]]:
    """Requests, and words of the sentence that each gets."""
    good = request(40)
    return [
        (request(27), "history has 27 days, at least 28 are needed"),
        ({**good, "history": np.zeros((1, 5000), np.float32)}, "history has 5000 days, at most 4096 are read"),
        ({**good, "prices": good["prices"][:, :40]}, "prices has 40 days, expected 68"),
        ({**good, "events": good["events"][:, 1:]}, "events has 67 days, expected 68"),
        ({**good, "snap": good["snap"][:, 1:]}, "snap has 67 days, expected 68"),
        (changed("history", (0, 7), np.nan), "history[7] of series 0 is nan, expected units sold"),
        (changed("history", (0, 39), np.inf), "history[39] of series 0 is inf"),
        (changed("history", (0, 0), -1), "history[0] of series 0 is -1.0"),
        (changed("prices", (0, 67), 0), "prices[67] of series 0 is 0.0, expected a price above 0"),
        (changed("prices", (0, 3), np.nan), "prices[3] of series 0 is nan"),
        (changed("events", (0, 3, 2), 2), "events[3][2] of series 0 is 2, expected 0 or 1"),
        (changed("snap", (0, 3), 255), "snap[3] of series 0 is 255"),
        (changed("last_date", (0, 0), b"24.04.2016"), "last_date of series 0 is b'24.04.2016', expected the date"),
        (changed("last_date", (0, 0), b"2016-02-30"), "last_date of series 0 is b'2016-02-30'"),
        (changed("last_date", (0, 0), b"\xff\xfe"), "last_date of series 0 is"),
    ]


def test_bad_series_fail_alone(server: TritonServer) -> None:
    """Too short, gaps, negative, no price, no date: each gets its sentence, and those beside it their answers."""
    asked = [item for one in bad() for item in ((request(40), ""), one)]

    def infer(inputs: Arrays) -> Array | ClientError:
        with Client(f"grpc://{server.grpc_url}") as client:
            try:
                return client.infer(ENSEMBLE.name, inputs)["quantiles"]
            except ClientError as error:
                return error

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(infer, [inputs for inputs, _ in asked]))
    for (_, words), answer in zip(asked, answers, strict=True):
        if words:
            assert isinstance(answer, InvalidInput)
            assert words in str(answer)
        else:
            assert isinstance(answer, np.ndarray)
            np.testing.assert_allclose(answer, expected(request(40)), rtol=1e-5)


def test_nothing_sold_is_a_history(client: Client) -> None:
    """Zeros are no gap."""
    inputs = {**request(40), "history": np.zeros((1, 40), np.float32)}
    np.testing.assert_allclose(client.infer(ENSEMBLE.name, inputs)["quantiles"], expected(inputs), rtol=1e-5)


async def test_the_task_gives_forecasts(server: TritonServer, client: Client) -> None:
    """By date and level, in the order of the series, of any length; the async form gives the same."""
    wanted = [series(days, seed) for seed, days in enumerate((900, 30, 392), start=1)]
    found = DemandForecaster(client).forecast(wanted)
    for seed, (one, days) in enumerate(zip(found, (900, 30, 392), strict=True), start=1):
        right = expected(request(days, seed))[0]
        np.testing.assert_allclose(one.quantiles, right, rtol=1e-5)
        np.testing.assert_allclose(one.mean, right.mean(-1), rtol=1e-5)
        np.testing.assert_array_equal(one.quantile(0.975), one.quantiles[:, 7])
        assert (one.dates[0], one.dates[-1]) == (LAST_DATE + timedelta(1), LAST_DATE + timedelta(28))
    with pytest.raises(InvalidInput, match=r"no quantile 0\.9; the model gives 0\.005, 0\.025, 0\.165"):
        found[0].quantile(0.9)
    async with AsyncClient(f"grpc://{server.grpc_url}") as opened:
        again = await AsyncDemandForecaster(opened).forecast(wanted)
    for left, right_one in zip(again, found, strict=True):
        np.testing.assert_array_equal(left.quantiles, right_one.quantiles)


async def test_the_task_names_what_the_server_refused(server: TritonServer, client: Client) -> None:
    """By its place in the caller's list."""
    gap = replace(series(40), history=[1.0] * 39 + [float("nan")])
    with pytest.raises(InvalidInput, match=r"series\[1\]: .*history\[39\] of series 0 is nan"):
        DemandForecaster(client).forecast([series(40), gap])
    async with AsyncClient(f"grpc://{server.grpc_url}") as opened:
        with pytest.raises(InvalidInput, match=r"series\[0\]: .*history has 20 days"):
            await asyncio.wait_for(AsyncDemandForecaster(opened).forecast([series(20)]), 30)
