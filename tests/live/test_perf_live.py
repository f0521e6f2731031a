from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import tritonclient.http

from modelyard_ops.errors import OpsError
from modelyard_ops.perf import MeasuringInterrupted, Plan, Progress, analyzer, golden_samples, measure
from modelyard_ops.perf.plan import command
from modelyard_server.install import PerfAnalyzer, install_perf_analyzer
from modelyard_server.process import TritonServer
from support.text_system import ENCODER, ENSEMBLE, MAX_BATCH_SIZE, TOKENIZER, text_samples, write_text_system
from support.triton import options_on_free_ports

pytestmark = pytest.mark.live


@pytest.fixture(name="repository", scope="module")
def text_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_system(tmp_path_factory.mktemp("repository"))


@pytest.fixture(name="server", scope="module")
def running_server(serve: Callable[[Path], TritonServer], repository: Path) -> TritonServer:
    return serve(repository)


@pytest.fixture(name="perf_analyzer", scope="module")
def installed_perf_analyzer() -> PerfAnalyzer:
    return install_perf_analyzer()


@pytest.fixture(name="plan")
def quick_plan(server: TritonServer) -> Plan:
    """A quarter of a second a window, and any spread accepted at the first attempt."""
    return Plan(
        model=ENSEMBLE,
        url=server.grpc_url,
        concurrencies=(2,),
        interval_ms=200,
        stability_percent=10_000.0,
        attempts=1,
    )


def running_perf_analyzers(perf_analyzer: PerfAnalyzer) -> list[int]:
    """Those that this process started, by process id."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if child.name() == perf_analyzer.executable.name]


def test_an_ensemble_over_grpc_has_every_number(plan: Plan, repository: Path, perf_analyzer: PerfAnalyzer) -> None:
    """A row a concurrency, in order, with percentiles, the server's times and the batches of its composing models."""
    plan = replace(plan, concurrencies=(1, 4))
    rows = measure(plan, golden_samples(repository, ENSEMBLE), perf_analyzer)
    assert [(row.concurrency, row.status, row.errors, row.version) for row in rows] == [
        (1, "stable", 0, "1"),
        (4, "stable", 0, "1"),
    ]
    for row in rows:
        assert row.throughput is not None
        assert row.throughput > 0
        assert row.latency is not None
        latency = row.latency
        assert 0 < latency.p50_ms <= latency.p90_ms <= latency.p95_ms <= latency.p99_ms
        assert row.server is not None
        assert row.server.compute_ms is not None
        assert {times.model for times in row.composing} == {TOKENIZER, ENCODER}
        assert all(1 <= (times.batch_size or 0) <= MAX_BATCH_SIZE for times in row.composing)


def test_batches_of_one_shape_over_http(
    plan: Plan, server: TritonServer, repository: Path, perf_analyzer: PerfAnalyzer
) -> None:
    """Two of the encoder's three samples have one shape; requests of four make batches of four or more."""
    plan = replace(plan, model=ENCODER, url=server.http_url, protocol="http", batch_size=4)
    (row,) = measure(plan, golden_samples(repository, ENCODER), perf_analyzer)
    assert (row.status, row.composing) == ("stable", ())
    assert row.server is not None
    assert 4 <= (row.server.batch_size or 0) <= MAX_BATCH_SIZE
    assert "only 2 of 3 samples were sent" in row.warnings[-1]


def test_unstable_results_are_shown_and_marked(plan: Plan, repository: Path, perf_analyzer: PerfAnalyzer) -> None:
    """No three windows agree to a millionth: measured again as often as allowed, then shown with every number."""
    plan = replace(plan, stability_percent=1e-6, attempts=2)
    seen: list[Progress] = []
    (row,) = measure(plan, golden_samples(repository, ENSEMBLE), perf_analyzer, seen.append)
    assert (row.status, row.attempts, len(row.windows)) == ("unstable", 2, 3)
    assert row.latency is not None
    assert row.throughput is not None
    assert [(step.attempt, len(step.windows)) for step in seen] == [(a, w) for a in (1, 2) for w in range(4)]


def test_failed_requests_are_counted_and_the_rest_goes_on(plan: Plan, perf_analyzer: PerfAnalyzer) -> None:
    """Triton's own message is in the row; the next concurrency is measured all the same."""
    plan = replace(plan, concurrencies=(1, 2))
    rows = measure(plan, text_samples(["hello", "refuse this"])["data"], perf_analyzer)
    assert [row.status for row in rows] == ["failed", "failed"]
    assert all(row.errors >= 1 and "this text is refused" in (row.reason or "") for row in rows)


def test_an_interruption_keeps_what_was_measured(plan: Plan, repository: Path, perf_analyzer: PerfAnalyzer) -> None:
    """Ctrl-C in the second measurement: the first is whole, the second has its windows, perf_analyzer is gone."""

    def interrupt(progress: Progress) -> None:
        if progress.concurrency == 2 and len(progress.windows) == 2:
            raise KeyboardInterrupt

    plan = replace(plan, concurrencies=(1, 2))
    with pytest.raises(MeasuringInterrupted) as interruption:
        measure(plan, golden_samples(repository, ENSEMBLE), perf_analyzer, interrupt)
    first, second = interruption.value.measurements
    assert (first.status, second.status, len(second.windows)) == ("stable", "interrupted", 2)
    assert running_perf_analyzers(perf_analyzer) == []


def test_a_hung_run_is_killed_at_its_limit(
    plan: Plan, repository: Path, perf_analyzer: PerfAnalyzer, tmp_path: Path
) -> None:
    """A window of ten minutes against a limit of a second."""
    line = command(
        replace(plan, interval_ms=600_000), 1, perf_analyzer.executable, repository / ENSEMBLE / "golden/samples.json"
    )
    output = analyzer.run(line, perf_analyzer.library_path, 1.0, lambda line: None)
    assert "still running after its limit of 1 s, and was killed" in output.stderr
    assert running_perf_analyzers(perf_analyzer) == []


def test_a_machine_without_its_libraries_is_one_sentence(perf_analyzer: PerfAnalyzer, tmp_path: Path) -> None:
    """What is missing, and what perf_analyzer needs."""
    with pytest.raises(OpsError, match=r"cannot run on this machine: .*libb64.*glibc 2\.34 or later"):
        analyzer.run([str(perf_analyzer.executable), "--version"], str(tmp_path), 10.0, lambda line: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "textr"}, "has no model 'textr'; did you mean 'texter'"),
        ({"model": "zzz"}, "has no model 'zzz'; it knows texter, texter_encoder, texter_tokenizer"),
        ({"version": "9"}, "version 9 of 'texter' is not served; there is 1"),
        ({"batch_size": 9}, "batch size 9 is too large: 'texter' takes at most 8"),
        ({"model": ENCODER}, r"sample 0 .* has the inputs \['text'\]; the model takes \['ids'\]"),
    ],
)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_cannot_be_measured_is_one_sentence(
    server: TritonServer,
    plan: Plan,
    perf_analyzer: PerfAnalyzer,
    changes: dict[str, object],
    message: str,
    protocol: str,
) -> None:
    """Over both protocols, before perf_analyzer starts."""
    changes = {**changes, "protocol": protocol, "url": server.grpc_url if protocol == "grpc" else server.http_url}
    with pytest.raises(OpsError, match=message):
        measure(replace(plan, **changes), text_samples(["a"])["data"], perf_analyzer)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_other_protocol_s_port_is_told_apart(
    server: TritonServer, plan: Plan, perf_analyzer: PerfAnalyzer, protocol: str
) -> None:
    """Sending gRPC to the HTTP port, and the other way round, names both defaults."""
    wrong = server.http_url if protocol == "grpc" else server.grpc_url
    with pytest.raises(OpsError, match=f"no Triton answers {protocol} at {wrong}.*gRPC is at 127.0.0.1:8001"):
        measure(replace(plan, url=wrong, protocol=protocol), [], perf_analyzer)  # type: ignore[arg-type]


def test_a_model_that_is_not_loaded_is_one_sentence(
    server: TritonServer, plan: Plan, perf_analyzer: PerfAnalyzer
) -> None:
    """The state is named, and where the reason stands."""
    client = tritonclient.http.InferenceServerClient(server.http_url)
    client.unload_model(ENSEMBLE)
    try:
        with pytest.raises(OpsError, match=r"'texter' is on the server but not ready: .*`modelyard status`"):
            measure(plan, text_samples(["a"])["data"], perf_analyzer)
    finally:
        client.load_model(ENSEMBLE)
        client.close()


def test_a_model_that_was_never_loaded_may_not_be_built(
    server: TritonServer, repository: Path, plan: Plan, perf_analyzer: PerfAnalyzer
) -> None:
    """Triton lists it without a version and without a reason; the command that builds it is named."""
    (repository / "fresh" / "1").mkdir(parents=True)
    (repository / "fresh" / "config.pbtxt").write_text('backend: "python"')
    try:
        with pytest.raises(OpsError, match=r"'fresh' is in the server's repository .*: modelyard build fresh\."):
            measure(replace(plan, model="fresh"), [], perf_analyzer)
    finally:
        shutil.rmtree(repository / "fresh")


def test_a_server_that_dies_in_mid_run_fails_the_row(repository: Path, plan: Plan, perf_analyzer: PerfAnalyzer) -> None:
    """A row with a reason, not a traceback and not a hang."""
    with TritonServer(options_on_free_ports(repository)) as dying:

        def kill(progress: Progress) -> None:
            if len(progress.windows) == 1:
                dying.stop()

        plan = replace(plan, url=dying.grpc_url)
        (row,) = measure(plan, golden_samples(repository, ENSEMBLE), perf_analyzer, kill)
    assert (row.status, row.latency) == ("failed", None)
    assert row.reason


def wait_for_load(process: subprocess.Popen[str], concurrency: int) -> list[psutil.Process]:
    """The perf_analyzer that the command started, once it has a thread for every request in flight."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children(recursive=True)
        if children and children[0].num_threads() > concurrency:
            return children
        time.sleep(0.02)
    raise AssertionError("perf_analyzer did not start")


def modelyard_perf(server: TritonServer, repository: Path, *options: str) -> subprocess.Popen[str]:
    """Starts the command as an operator does."""
    executable = Path(sys.executable).with_name("modelyard")
    line = [str(executable), "perf", ENSEMBLE, "--url", server.grpc_url, "--repository", str(repository), *options]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_prints_json_and_writes_csv(server: TritonServer, repository: Path, tmp_path: Path) -> None:
    """Nothing but the JSON document is on stdout; progress is on stderr."""
    table = tmp_path / "rows.csv"
    options = ("--concurrency", "1", "--measurement-interval", "200", "--attempts", "1", "--json", "--csv", str(table))
    process = modelyard_perf(server, repository, *options)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert [row["concurrency"] for row in json.loads(stdout)["measurements"]] == [1]
    assert "concurrency 1" in stderr
    assert len(table.read_text().splitlines()) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_at_once_when_interrupted(server: TritonServer, repository: Path, number: int) -> None:
    """Exit code 130, the finished windows on stdout, and no perf_analyzer left behind."""
    process = modelyard_perf(server, repository, "--concurrency", "3", "--measurement-interval", "60000")
    try:
        assert process.stderr is not None
        assert "concurrency 3" in process.stderr.readline()
        children = wait_for_load(process, 3)
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert not [child for child in children if child.is_running()]
