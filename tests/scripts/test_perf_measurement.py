from __future__ import annotations

import pytest

from modelyard_ops.perf import Plan
from modelyard_ops.perf.measurement import failed, from_report, interrupted, is_stable
from modelyard_ops.perf.report import Window, parse
from support.perf_output import stderr, stdout

PLAN = Plan(model="texter", interval_ms=1)


def test_stability_is_judged_as_perf_analyzer_judges() -> None:
    """Of a run that it judged by 3 percent, windows 4 to 6 were the first three that it accepted."""
    windows = parse(stdout("judged_3_percent"), "texter").windows
    assert [is_stable(windows[:count], 3.0) for count in range(1, 7)] == [False] * 5 + [True]


def test_a_run_that_perf_analyzer_rejected_is_never_stable() -> None:
    """Six windows, 0.5 percent allowed: no three in a row pass."""
    windows = parse(stdout("judged_unstable"), "texter").windows
    assert len(windows) == 6
    assert not any(is_stable(windows[:count], 0.5) for count in range(1, 7))


@pytest.mark.parametrize(
    ("last", "stable"),
    [
        (Window(110.0, 1.0), True),
        (Window(110.1, 1.0), False),
        (Window(100.0, 1.1), True),
        (Window(100.0, 1.101), False),
    ],
)
def test_throughput_and_latency_both_count(last: Window, stable: bool) -> None:
    """The bound is max / min <= 1 + 10 / 100, on either side of it."""
    assert is_stable([Window(100.0, 1.0), Window(100.0, 1.0), last], 10.0) is stable


def test_a_report_becomes_a_row_with_its_mark() -> None:
    """The same numbers are stable or not by the percentage asked for; they are there either way."""
    report = parse(stdout("ensemble_grpc"), "texter")
    spread = from_report(PLAN, "1", 4, 1, report).spread_percent
    assert spread is not None
    for percent, status in ((spread * 1.01, "stable"), (spread * 0.99, "unstable")):
        row = from_report(Plan(model="texter", stability_percent=percent), "1", 4, 2, report)
        assert (row.status, row.attempts, row.errors) == (status, 2, 0)
        assert report.client is not None
        assert (row.throughput, row.latency) == (report.client.throughput, report.client.latency)
        assert len(row.composing) == 2


def test_a_failed_request_is_a_row_with_its_reason_and_count() -> None:
    """The windows before it are kept; numbers there are none."""
    report = parse(stdout("request_failed"), "texter")
    row = failed(PLAN, "1", 8, 1, report.windows, stderr("request_failed"))
    assert (row.status, row.errors, row.throughput) == ("failed", 1, None)
    assert row.reason == "a request failed: in ensemble 'texter', refused"


def test_windows_without_requests_say_what_to_do() -> None:
    """The interval that was too short, and the option."""
    row = failed(PLAN, "1", 1, 1, (), stderr("empty_windows"))
    assert row.reason == "no request was answered within a window of 1 ms; give a longer --measurement-interval"
    assert row.errors == 0


def test_any_other_failure_is_passed_on_in_one_line() -> None:
    """As perf_analyzer says it."""
    row = failed(PLAN, "1", 1, 1, (), stderr("wrong_input"))
    assert row.reason == "Failed to init manager inputs: missing tensor text ( Location stream id: 0, step id: 0)"


def test_an_interruption_keeps_the_mean_of_the_windows_so_far() -> None:
    """Percentiles of them nobody knows."""
    row = interrupted(PLAN, "1", 1, 1, (Window(100.0, 1.0), Window(200.0, 1.0)))
    assert row is not None
    assert (row.status, row.throughput, row.latency) == ("interrupted", 150.0, None)
    assert interrupted(PLAN, "1", 1, 1, ()) is None


def test_answers_from_the_response_cache_are_a_warning() -> None:
    """The golden samples repeat, so the figures are the cache's and not the model's."""
    row = from_report(PLAN, "1", 4, 1, parse(stdout("response_cache"), "texter"))
    assert any(
        "3819 of 3823 requests of texter_encoder came out of the response cache" in note for note in row.warnings
    )
    assert from_report(PLAN, "1", 4, 1, parse(stdout("ensemble_grpc"), "texter")).warnings == ()


def test_a_percentile_of_few_requests_is_a_warning() -> None:
    """The 99th percentile of 20 requests is their maximum."""
    few = stdout("single_http").replace("Request count: 523", "Request count: 20")
    row = from_report(PLAN, "1", 2, 1, parse(few, "texter_encoder"))
    assert row.warnings == ("p99 of 20 requests is hardly more than their maximum",)
