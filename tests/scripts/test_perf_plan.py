from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_ops.errors import OpsError
from modelyard_ops.perf import Plan
from modelyard_ops.perf.plan import command


def test_command_measures_one_concurrency_in_three_windows_that_always_print() -> None:
    """The whole command line, so that no option slips in or out unseen."""
    plan = Plan(model="texter", url="127.0.0.1:8000", protocol="http", batch_size=4, interval_ms=500)
    assert command(plan, 16, Path("/x/perf_analyzer"), Path("/x/samples.json")) == [
        *("/x/perf_analyzer", "-v", "-m", "texter", "-u", "127.0.0.1:8000", "-i", "http"),
        *("-b", "4", "--input-data", "/x/samples.json", "--concurrency-range", "16:16:1"),
        *("--measurement-interval", "500", "--max-trials", "3", "--stability-percentage", "1000000"),
    ]


def test_command_names_a_version_only_where_one_was_asked_for() -> None:
    """Without a version the server chooses."""
    plan = Plan(model="texter", version="3")
    line = command(plan, 1, Path("pa"), Path("data"))
    assert line[line.index("-x") + 1] == "3"
    assert "-x" not in command(Plan(model="texter"), 1, Path("pa"), Path("data"))


@pytest.mark.parametrize("interval_ms", [1, 500, 60_000])
def test_limit_leaves_room_for_every_window(interval_ms: int) -> None:
    """A run is not killed while its three windows, each stretched by 1.2, are still being measured."""
    assert Plan(model="m", interval_ms=interval_ms).limit_s > 3 * 1.2 * interval_ms / 1000 + 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrencies": ()}, "no concurrency to measure at"),
        ({"concurrencies": (1, 0)}, "concurrency 0 is not between 1 and 1024"),
        ({"concurrencies": (2000,)}, "concurrency 2000 is not between 1 and 1024"),
        ({"batch_size": 0}, "the batch size is 0; it must be greater than 0"),
        ({"interval_ms": -5}, "the measurement interval is -5"),
        ({"attempts": 0}, "the number of attempts is 0"),
        ({"stability_percent": 0.0}, "the stability percentage is 0"),
        ({"url": "http://localhost:8000"}, "has a scheme; give host:port alone"),
    ],
)
def test_plan_refuses_what_perf_analyzer_cannot_run(options: dict[str, object], message: str) -> None:
    """Each value in its own sentence, before anything is started."""
    with pytest.raises(OpsError, match=message):
        Plan(model="m", **options)  # type: ignore[arg-type]  # the parametrised values are of different types
