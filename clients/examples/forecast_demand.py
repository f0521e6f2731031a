"""Forecasts what will be sold out of a CSV file with the columns date, units and price, the oldest day first.

Days without units are days to come: their prices are read, and 28 of them are needed. A column event may hold the kind
of event on a day (Sporting, Cultural, National, Religious), a column snap a 1 where food is sold for SNAP benefits.
With --daily the last days are sent one by one, as a shop would, and the server keeps the history.

python clients/examples/forecast_demand.py --url grpc://127.0.0.1:8001 sales.csv
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from modelyard_client import Client
from modelyard_client.tasks import Calendar, DailyDemand, DemandForecaster, Forecast, Series

DAYS_AHEAD = 28


def read(path: Path) -> Series:
    """The file as a series."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    sold = [row for row in rows if row["units"]]
    days = [date.fromisoformat(row["date"]) for row in rows]
    calendar = Calendar(
        {day: row["event"] for day, row in zip(days, rows, strict=True) if row.get("event")},
        {day for day, row in zip(days, rows, strict=True) if row.get("snap") == "1"},
    )
    prices = [float(row["price"]) for row in rows]
    return Series([float(row["units"]) for row in sold], prices, days[len(sold) - 1], calendar)


def day_by_day(client: Client, series: Series, days: int) -> Forecast | None:
    """Sends all but the last days at once, and these one by one."""
    history, prices = list(series.history), np.asarray(series.prices)
    known = len(history) - days
    begun = replace(
        series,
        history=history[:known],
        prices=prices[: known + DAYS_AHEAD],
        last_date=series.last_date - timedelta(days),
    )
    with DailyDemand(client).series(begun) as shop:
        for place in range(known, len(history)):
            shop.day(history[place], prices[place : place + 1 + DAYS_AHEAD])
            print(f"day {place + 1} sent, {shop.days_missing} days missing for a forecast")
        return shop.forecast


def show(forecast: Forecast) -> None:
    """Prints the median of each day between the quantiles around it."""
    rows = zip(
        forecast.dates,
        forecast.quantile(0.025),
        forecast.quantile(0.5),
        forecast.quantile(0.975),
        forecast.mean,
        strict=True,
    )
    print("date          2.5 %     50 %   97.5 %     mean")
    for day, low, middle, high, mean in rows:
        print(f"{day}  {low:7.1f}  {middle:7.1f}  {high:7.1f}  {mean:7.1f}")


def main() -> None:
    """Prints the forecast of each of the 28 days."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    parser.add_argument("--daily", type=int, default=0, metavar="DAYS", help="send so many days one by one")
    parser.add_argument("file", type=Path, metavar="CSV")
    arguments = parser.parse_args()
    series = read(arguments.file)
    with Client(arguments.url) as client:
        if arguments.daily:
            forecast = day_by_day(client, series, arguments.daily)
        else:
            (forecast,) = DemandForecaster(client).forecast([series])
    if forecast is None:
        parser.exit(1, "too few days for a forecast\n")
    show(forecast)


if __name__ == "__main__":
    main()
