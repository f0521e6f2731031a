"""A series forecast again each day, its history kept by the server, by the model `demand_forecaster_daily`."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from modelyard_client.datatypes import Array
from modelyard_client.errors import ClientError, InvalidInput
from modelyard_client.result import Result
from modelyard_client.tasks.demand import (
    DemandModel,
    Forecast,
    Numbers,
    Series,
    demand_model,
    forecast_of,
    later,
    tensors,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

SOLD = "units"


class Standing:
    """Where a series stands: its newest days, and the forecast of those after them.

    Attributes:
        newest: The days of the last request that was answered.
        forecast: The newest; None while too few days are known.
        days_missing: How many more are needed for one.
        ended: Whether the server was told to forget the series.
    """

    def __init__(self, known: Series) -> None:
        self.newest = known
        self.forecast: Forecast | None = None
        self.days_missing = 0
        self.ended = False
        self._model: DemandModel | None = None

    @property
    def model(self) -> DemandModel:
        """The model.

        Raises:
            InvalidInput: The series has not begun.
        """
        if self._model is None:
            raise InvalidInput("the series has not begun: use it in a `with` (`async with` for AsyncDailyDemand).")
        return self._model

    @model.setter
    def model(self, model: DemandModel) -> None:
        self._model = model

    def asked(self, series: Series) -> dict[str, Array]:
        """The inputs of a request."""
        return tensors(self.model, series, SOLD, "")

    def again(self, prices: Numbers | float) -> Series:
        """No day more, and other prices for those to come."""
        return later(self.newest, np.zeros(0, np.float32), prices)

    def last_price(self) -> float:
        """The last that is known."""
        prices = self.newest.prices
        return float(prices if np.ndim(prices) == 0 else prices[-1])  # type: ignore[arg-type,index]  # a number or not

    def answered(self, series: Series, result: Result, *, end: bool) -> Forecast | None:
        """Takes over an answer."""
        self.days_missing = int(result["days_missing"].item())
        self.newest, self.ended = series, end
        self.forecast = None if self.days_missing else forecast_of(self.model, result, series.last_date)
        return self.forecast


class DailyDemand:
    """Forecasts series that grow by a day at a time: a request is some 300 bytes, not a year of history.

    The server holds the history, in memory: where it was restarted, or a series was not asked for as long as the
    model's max_sequence_idle_microseconds, the next day raises SequenceLost. Begin again with the whole history then:
    the answers are the same.

    Args:
        client: Where the model is.
        model: A model with the inputs `units`, `prices`, `events`, `snap`, `last_date`, the outputs `quantiles`, `mean`
            and `days_missing`, and the parameters `levels` and `context`, that keeps a history for each sequence.
    """

    def __init__(self, client: Client, model: str = "demand_forecaster_daily") -> None:
        self._client = client
        self._name = model

    def series(self, known: Series, sequence_id: int | None = None, *, deadline: float | None = None) -> DailySeries:
        """Makes a series; use it in a `with`, which sends what is known of it, and at its end lets the server forget.

        Args:
            known: A day of history at least; the calendar is used for the days to come, too.
            sequence_id: What the server is to know it by, as for `Client.sequence`; None takes a random one.
            deadline: Seconds for each of the requests; None takes the client's.

        Raises:
            IncompatibleModel: At the `with`: the model is of another kind.
            InvalidInput: At the `with`: a part of the series is no number of units, no price or no date.
            ClientError: As `Client.infer`.
        """
        return DailySeries(self._client, self._name, known, sequence_id, deadline)


class DailySeries:
    """A series on the server, as `DailyDemand.series` makes it; one request at a time."""

    def __init__(
        self, client: Client, name: str, known: Series, sequence_id: int | None, deadline: float | None
    ) -> None:
        self._client = client
        self._name = name
        self._standing = Standing(known)
        self._sequence = client.sequence(name, sequence_id, deadline=deadline)

    @property
    def id(self) -> int | str:
        """The sequence id under which the server knows it."""
        return self._sequence.id

    @property
    def forecast(self) -> Forecast | None:
        """The newest; None while too few days are known."""
        return self._standing.forecast

    @property
    def days_missing(self) -> int:
        """How many more days are needed for a forecast."""
        return self._standing.days_missing

    def day(self, units: float, prices: Numbers | float, *, end: bool = False) -> Forecast | None:
        """Adds the day after the last one.

        Args:
            units: Sold on it.
            prices: The price on it and on each of the days to come; or one number, where it stays.
            end: Whether it is the last: the server forgets the series.

        Returns:
            The forecast of the days after it; None while too few days are known.

        Raises:
            SequenceLost: The server does not know the series any more: begin again with its history.
            InvalidInput: A number is no number of units or no price; the series stands where it stood.
            ClientError: As `Client.infer`.
        """
        return self.days([units], prices, end=end)

    def days(self, units: Numbers, prices: Numbers | float, *, end: bool = False) -> Forecast | None:
        """Adds several days at once; as `day`."""
        return self._send(later(self._standing.newest, units, prices), end)

    def with_prices(self, prices: Numbers | float) -> Forecast | None:
        """What would be sold at other prices of the days to come; the series stays as it is. As `day`."""
        return self._send(self._standing.again(prices), end=False)

    def _send(self, series: Series, end: bool) -> Forecast | None:
        result = self._sequence.infer(self._standing.asked(series), end=end)
        return self._standing.answered(series, result, end=end)

    def __enter__(self) -> Self:
        self._standing.model = demand_model(self._client.metadata(self._name), self._client.config(self._name), SOLD)
        self._sequence.__enter__()
        self._send(self._standing.newest, end=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._standing.ended:
                self._send(self._standing.again(self._standing.last_price()), end=True)
        except ClientError:
            # It is lost already, or the server is: what it holds goes with it, or after its idle time.
            pass
        finally:
            self._sequence.__exit__(kind, error, trace)


class AsyncDailyDemand:
    """`DailyDemand` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = "demand_forecaster_daily") -> None:
        self._client = client
        self._name = model

    def series(
        self, known: Series, sequence_id: int | None = None, *, deadline: float | None = None
    ) -> AsyncDailySeries:
        """As `DailyDemand.series`, for an `async with`."""
        return AsyncDailySeries(self._client, self._name, known, sequence_id, deadline)


class AsyncDailySeries:
    """A series on the server, as `AsyncDailyDemand.series` makes it; one request at a time."""

    def __init__(
        self, client: AsyncClient, name: str, known: Series, sequence_id: int | None, deadline: float | None
    ) -> None:
        self._client = client
        self._name = name
        self._standing = Standing(known)
        self._sequence = client.sequence(name, sequence_id, deadline=deadline)

    @property
    def id(self) -> int | str:
        """The sequence id under which the server knows it."""
        return self._sequence.id

    @property
    def forecast(self) -> Forecast | None:
        """The newest; None while too few days are known."""
        return self._standing.forecast

    @property
    def days_missing(self) -> int:
        """How many more days are needed for a forecast."""
        return self._standing.days_missing

    async def day(self, units: float, prices: Numbers | float, *, end: bool = False) -> Forecast | None:
        """As `DailySeries.day`."""
        return await self.days([units], prices, end=end)

    async def days(self, units: Numbers, prices: Numbers | float, *, end: bool = False) -> Forecast | None:
        """As `DailySeries.days`."""
        return await self._send(later(self._standing.newest, units, prices), end)

    async def with_prices(self, prices: Numbers | float) -> Forecast | None:
        """As `DailySeries.with_prices`."""
        return await self._send(self._standing.again(prices), end=False)

    async def _send(self, series: Series, end: bool) -> Forecast | None:
        result = await self._sequence.infer(self._standing.asked(series), end=end)
        return self._standing.answered(series, result, end=end)

    async def __aenter__(self) -> Self:
        metadata, config = await self._client.metadata(self._name), await self._client.config(self._name)
        self._standing.model = demand_model(metadata, config, SOLD)
        await self._sequence.__aenter__()
        await self._send(self._standing.newest, end=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._standing.ended:
                await self._send(self._standing.again(self._standing.last_price()), end=True)
        except ClientError:
            # As in `DailySeries`.
            pass
        finally:
            await self._sequence.__aexit__(kind, error, trace)
