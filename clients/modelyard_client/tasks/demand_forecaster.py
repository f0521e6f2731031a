"""Sales to what will be sold, by the ensemble `demand_forecaster`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from modelyard_client.datatypes import Array
from modelyard_client.errors import InvalidInput
from modelyard_client.request import checked_in_flight
from modelyard_client.tasks.demand import (
    DemandModel,
    Forecast,
    Series,
    checked_series,
    demand_model,
    forecast_of,
    named,
    tensors,
)

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

SOLD = "history"


class DemandForecaster:
    """Forecasts what will be sold of products on each of the next 28 days.

    Each series is a request of its own, and the server joins those that wait: so one that is too short, or has a gap,
    fails alone. Only as many days as the model uses are sent.

    Args:
        client: Where the model is.
        model: An ensemble with the inputs `history`, `prices`, `events`, `snap`, `last_date` and the outputs
            `quantiles` FP32 [days, levels] and `mean` FP32 [days], and the parameters `levels` and `context`.
        in_flight: How many requests may be under way at once.
    """

    def __init__(self, client: Client, model: str = "demand_forecaster", *, in_flight: int = 8) -> None:
        self._client = client
        self._name = model
        self._in_flight = checked_in_flight(in_flight)
        self._model: DemandModel | None = None

    def forecast(self, series: Iterable[Series], *, deadline: float | None = None) -> list[Forecast]:
        """Forecasts series.

        Args:
            series: What is known of each; any number of them.
            deadline: Seconds for each of the requests; None takes the client's.

        Returns:
            A forecast for each, in their order.

        Raises:
            InvalidInput: There is no series; or one is too short, has a gap, a negative number, no price or one too
                many; names it.
            IncompatibleModel: The model is of another kind.
            ClientError: As `Client.infer`.
        """
        wanted = checked_series(series)
        model = self._known_model()
        results = self._client.infer_many(
            model.name, requests(model, wanted), in_flight=self._in_flight, deadline=deadline
        )
        forecasts: list[Forecast] = []
        try:
            for result in results:
                forecasts.append(forecast_of(model, result, wanted[len(forecasts)].last_date))
        except InvalidInput as error:
            raise named(error, len(forecasts)) from error
        return forecasts

    def _known_model(self) -> DemandModel:
        if self._model is None:
            self._model = demand_model(self._client.metadata(self._name), self._client.config(self._name), SOLD)
        return self._model


class AsyncDemandForecaster:
    """`DemandForecaster` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = "demand_forecaster", *, in_flight: int = 8) -> None:
        self._client = client
        self._name = model
        self._in_flight = checked_in_flight(in_flight)
        self._model: DemandModel | None = None

    async def forecast(self, series: Iterable[Series], *, deadline: float | None = None) -> list[Forecast]:
        """As `DemandForecaster.forecast`."""
        wanted = checked_series(series)
        model = await self._known_model()
        results = self._client.infer_many(
            model.name, requests(model, wanted), in_flight=self._in_flight, deadline=deadline
        )
        forecasts: list[Forecast] = []
        try:
            async for result in results:
                forecasts.append(forecast_of(model, result, wanted[len(forecasts)].last_date))
        except InvalidInput as error:
            raise named(error, len(forecasts)) from error
        return forecasts

    async def _known_model(self) -> DemandModel:
        if self._model is None:
            metadata, config = await self._client.metadata(self._name), await self._client.config(self._name)
            self._model = demand_model(metadata, config, SOLD)
        return self._model


def requests(model: DemandModel, series: Iterable[Series]) -> Iterator[dict[str, Array]]:
    """The inputs of one request for each series."""
    for position, one in enumerate(series):
        yield tensors(model, one, SOLD, f"series[{position}].")
