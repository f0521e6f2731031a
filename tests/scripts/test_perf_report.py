from __future__ import annotations

import pytest

from modelyard_ops.perf.report import Window, parse, parse_window, request_errors, unloadable
from support.perf_output import stderr, stdout


def test_windows_are_read_from_the_progress_lines() -> None:
    """Throughput in inferences a second, latency in milliseconds."""
    assert parse(stdout("judged_3_percent"), "texter").windows[-3:] == (
        Window(691.496, 5.778),
        Window(694.417, 5.759),
        Window(705.743, 5.712),
    )


@pytest.mark.parametrize(
    ("line", "window"),
    [
        ("  Pass [1] throughput: 1.05e+06 infer/sec. Avg latency: 12 usec (std 3 usec). ", Window(1.05e6, 0.012)),
        (
            "  Pass [3] throughput: 418.8 infer/sec. Avg latency: 4630 usec (std 18446744073709551615 usec). ",
            Window(418.8, 4.63),
        ),
        ("  Pass [1] cb::Error: No valid requests recorded within time interval.", None),
        ("    Throughput: 697.21 infer/sec", None),
    ],
)
def test_a_window_line_is_told_from_others(line: str, window: Window | None) -> None:
    """Large numbers come in scientific notation; a window without requests is none."""
    assert parse_window(line) == window


def test_client_numbers_of_a_report() -> None:
    """All of them, in milliseconds, as printed."""
    client = parse(stdout("judged_3_percent"), "texter").client
    assert client is not None
    assert (client.requests, client.throughput) == (380, 697.21)
    latency = client.latency
    assert (latency.avg_ms, latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms) == (
        *(5.750, 5.726, 6.054, 6.206),
        6.573,
    )


def test_an_ensemble_is_followed_by_its_composing_models() -> None:
    """Its own queue and compute are sums; each model below has its own, with the batch that Triton formed."""
    report = parse(stdout("judged_3_percent"), "texter")
    assert report.server is not None
    assert (report.server.model, report.server.queue_ms, report.server.compute_ms) == ("texter", 2.474, 3.062)
    assert report.server.compute_infer_ms is None
    encoder, tokenizer = report.composing
    assert (encoder.model, encoder.version, encoder.inferences, encoder.executions) == ("texter_encoder", "1", 378, 189)
    assert encoder.batch_size == 2.0
    assert (encoder.queue_ms, encoder.compute_input_ms, encoder.compute_output_ms) == (2.410, 0.023, 0.439)
    assert encoder.compute_ms == pytest.approx(0.023 + 2.356 + 0.439)
    assert (tokenizer.model, tokenizer.requests) == ("texter_tokenizer", 380)


def test_a_single_model_over_http_has_no_composing_models() -> None:
    """The HTTP report differs in its lines about the transport alone."""
    report = parse(stdout("single_http"), "texter_encoder")
    assert report.client is not None
    assert report.server is not None
    assert report.server.compute_infer_ms is not None
    assert report.composing == ()


def test_response_cache_hits_are_counted_per_model() -> None:
    """With the cache on perf_analyzer prints its time and the compute together."""
    encoder, tokenizer = parse(stdout("response_cache"), "texter").composing
    assert (encoder.cache_hits, encoder.requests, encoder.inferences) == (3819, 3823, 4)
    assert (encoder.queue_ms, encoder.compute_ms, encoder.compute_infer_ms) == (0.039, 0.018, None)
    assert tokenizer.cache_hits == 0


@pytest.mark.parametrize("name", ["judged_unstable", "request_failed", "empty_windows", "wrong_input"])
def test_a_run_without_a_report_has_no_client_numbers(name: str) -> None:
    """Nothing is made up from what is there."""
    report = parse(stdout(name), "texter")
    assert report.client is None
    assert report.server is None


def test_warnings_of_perf_analyzer_are_kept() -> None:
    """It prints them between the numbers."""
    warning = "[WARNING] Perf Analyzer is not able to keep up with the desired load. The results may not be accurate."
    assert parse(f"{stdout('single_http')}\n{warning}\n", "m").warnings == (warning.removeprefix("[WARNING] "),)


def test_failed_requests_are_read_from_stderr() -> None:
    """One a thread, with Triton's message."""
    assert request_errors(stderr("request_failed")) == ("in ensemble 'texter', refused",)
    assert request_errors(stderr("wrong_input")) == ()


@pytest.mark.parametrize(
    ("name", "part"), [("missing_library", "libb64.so.0d"), ("old_glibc", "GLIBC_2.38' not found")]
)
def test_the_dynamic_loader_is_understood(name: str, part: str) -> None:
    """A machine that cannot run perf_analyzer is told apart from a run that failed."""
    assert part in (unloadable(stderr(name)) or "")


def test_an_ordinary_failure_is_not_the_loader_s() -> None:
    """Else a refused request would be reported as a broken machine."""
    assert unloadable(stderr("request_failed")) is None
