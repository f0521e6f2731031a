"""`modelyard serve`, `stop`, `status` and `doctor` as a person runs them, and every way in which they can end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard_server.install import PERF_ANALYZER_FOLDER, TRITON_FOLDER, install_perf_analyzer
from modelyard_server.process import ServerOptions
from modelyard_server.state import RunningServer, read_states, run_dir
from support.triton import FAILING, eventually, infer, left_behind, options_on_free_ports, write_model

pytestmark = pytest.mark.live

ENDLESS = """\
import pathlib
import time

class TritonPythonModel:
    def execute(self, requests):
        pathlib.Path("{begun}").touch()
        time.sleep(600)
"""

MODELYARD = str(Path(sys.executable).parent / "modelyard")
TIMEOUT_S = 90


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose cache has Triton and perf_analyzer, but knows no running server."""
    perf_analyzer = install_perf_analyzer()
    installed = perf_analyzer.executable.parent.parent.parent
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in (TRITON_FOLDER, PERF_ANALYZER_FOLDER):
        (cache / name).symlink_to(installed / name)
    return {**os.environ, "MODELYARD_CACHE": str(cache), "COLUMNS": "200"}


@pytest.fixture
def modelyard(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command to its end."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [MODELYARD, *map(str, arguments)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd="/"
        )

    return run


@pytest.fixture
def options(tmp_path: Path) -> ServerOptions:
    """A repository with one model, and free ports."""
    write_model(tmp_path / "repository", "identity")
    return options_on_free_ports(tmp_path / "repository")


def arguments_of(options: ServerOptions) -> list[str]:
    """The arguments of `serve` for these options."""
    ports = [f"--{name}-port={port}" for name, port in options.ports.items()]
    return ["serve", f"--repository={options.repository}", *ports]


def server_of(environment: dict[str, str]) -> RunningServer:
    """What is written down of the one server of a cache."""
    [server] = read_states(run_dir(Path(environment["MODELYARD_CACHE"])))
    return server


@contextmanager
def in_foreground(options: ServerOptions, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`modelyard serve` in a process group of its own, as a terminal starts it, once its models are ready."""
    command = [MODELYARD, *arguments_of(options)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert any("READY" in line for line in process.stdout)
            yield process
        finally:
            process.kill()


def test_detached_it_survives_its_shell_and_stops_when_told(
    modelyard: Callable[..., subprocess.CompletedProcess[str]], environment: dict[str, str], options: ServerOptions
) -> None:
    """Serve --detach, status and stop, from a shell which is gone meanwhile together with its process group."""
    shell = subprocess.Popen(
        ["/bin/sh", "-c", f"{MODELYARD} {' '.join(arguments_of(options))} --detach && kill -HUP 0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    output, _ = shell.communicate(timeout=TIMEOUT_S)
    assert shell.returncode == -signal.SIGHUP
    assert "identity" in output
    server = server_of(environment)
    assert infer(server.http_url, "identity", [1.0]) == [1.0]

    [told] = json.loads(modelyard("status", "--json").stdout)
    assert told["models"] == [{"name": "identity", "version": "1", "state": "READY", "reason": ""}]
    assert (told["http_url"], told["repository"]) == (server.http_url, str(options.repository))

    stopped = modelyard("stop")
    assert stopped.returncode == 0
    assert f"stopped {server.http_url}" in stopped.stdout
    assert left_behind(server) == []
    assert modelyard("stop").stdout == "no embedded server runs\n"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_drains_and_stops(
    environment: dict[str, str], options: ServerOptions, end: signal.Signals
) -> None:
    """Ctrl-C (which a terminal sends to the whole process group) and SIGTERM end it in order."""
    with in_foreground(options, environment) as process:
        server = server_of(environment)
        os.killpg(process.pid, end)
        assert process.wait(TIMEOUT_S) == 0
    assert left_behind(server) == []
    assert "Waiting for in-flight requests to complete" in server.log_path.read_text()


def test_a_second_ctrl_c_ends_it_at_once(environment: dict[str, str], options: ServerOptions, tmp_path: Path) -> None:
    """Who does not want to wait for running inferences presses Ctrl-C again; nothing is left behind either."""
    begun = tmp_path / "begun"
    write_model(options.repository, "endless", ENDLESS.format(begun=begun))
    with in_foreground(options, environment) as process, ThreadPoolExecutor() as threads:
        server = server_of(environment)
        answer = threads.submit(infer, server.http_url, "endless", [1.0])
        assert eventually(begun.exists)
        process.send_signal(signal.SIGINT)
        assert eventually(lambda: "Found 1 HTTP service connections" in server.log_path.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
        assert isinstance(answer.exception(), OSError)
    assert left_behind(server) == []


def test_a_killed_command_leaves_nothing(environment: dict[str, str], options: ServerOptions) -> None:
    """Kill -9 of `modelyard serve` ends the server within the time for draining."""
    with in_foreground(options, environment) as process:
        server = server_of(environment)
        process.kill()
    assert eventually(lambda: left_behind(server) == [])


def test_a_killed_supervisor_is_told_and_swept(
    modelyard: Callable[..., subprocess.CompletedProcess[str]], environment: dict[str, str], options: ServerOptions
) -> None:
    """A detached server whose every process was killed is no longer running; `stop` removes what it left."""
    assert modelyard(*arguments_of(options), "--detach").returncode == 0
    server = server_of(environment)
    supervisor = psutil.Process(server.pid)
    for process in [supervisor, *supervisor.children(recursive=True)]:
        process.kill()
    psutil.wait_procs([supervisor], TIMEOUT_S)
    assert left_behind(server) != []
    assert "died without cleaning up" in modelyard("doctor").stdout
    status = modelyard("status")
    assert (status.returncode, status.stdout) == (1, "")
    assert status.stderr.startswith("error: no embedded server runs.")
    assert modelyard("stop").returncode == 0
    assert left_behind(server) == []


def test_why_the_last_server_ended_is_told(
    modelyard: Callable[..., subprocess.CompletedProcess[str]], environment: dict[str, str], options: ServerOptions
) -> None:
    """Of a detached server that died by itself nothing is left but its log, to which `status` leads."""
    assert modelyard(*arguments_of(options), "--detach").returncode == 0
    server = server_of(environment)
    psutil.Process(server.pid).children()[0].kill()
    assert eventually(lambda: left_behind(server) == [])
    status = modelyard("status")
    assert status.returncode == 1
    assert "ended by itself: signal 9 (SIGKILL)" in status.stderr
    assert str(server.log_path) in status.stderr


def test_a_failed_model_is_reported_with_its_reason(
    modelyard: Callable[..., subprocess.CompletedProcess[str]], environment: dict[str, str], options: ServerOptions
) -> None:
    """The others are served, the reason is told by serve and by status, and both end with exit code 1.

    What is not built is left out by both, with the command that builds it, and is no failure.
    """
    write_model(options.repository, "failing", FAILING)
    write_model(options.repository, "unbuilt", None)
    serving = modelyard(*arguments_of(options), "--detach")
    try:
        status = modelyard("status", "--http-port", options.http_port)
        by_url = modelyard("status", "--url", f"http://127.0.0.1:{options.http_port}/")
        for done in (serving, status, by_url):
            assert done.returncode == 1
            assert "ValueError: no tokenizer.json in this version" in done.stdout
            assert "unbuilt" not in done.stdout
        for done in (serving, status):
            assert "not built, and left out: unbuilt. To build: modelyard build unbuilt\n" in done.stderr
        assert infer(server_of(environment).http_url, "identity", [2.0]) == [2.0]
    finally:
        assert modelyard("stop", "--all").returncode == 0


def test_mistakes_end_in_one_sentence(
    modelyard: Callable[..., subprocess.CompletedProcess[str]], options: ServerOptions, tmp_path: Path
) -> None:
    """Each mistake of an operator gives one line on stderr, exit code 1, and no traceback."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    write_model(tmp_path / "partly", "built")
    write_model(tmp_path / "partly", "unbuilt", None)
    port = options.http_port
    mistakes: dict[str, list[object]] = {
        "there is no model repository": ["serve", "--repository", tmp_path / "none"],
        "is a file; a model repository is a folder": ["serve", "--repository", tmp_path / "file"],
        "holds no model": ["serve", "--repository", tmp_path / "empty"],
        "unbuilt cannot be served: it has no version. Build it: modelyard build unbuilt": [
            "serve",
            "--model=unbuilt",
            "--repository",
            tmp_path / "partly",
        ],
        "--device is 'tpu'; it can be auto, cpu, gpu": [*arguments_of(options), "--device=tpu"],
        "cannot both listen on port": [*arguments_of(options), "--grpc-port", port],
        "has a configs/none.pbtxt; there are: none": [*arguments_of(options), "--config-name", "none"],
        f"no embedded server listens on HTTP port {port}; running: none": ["stop", "--http-port", port],
        f"no Triton answers at 127.0.0.1:{port}: Connection refused": ["status", "--http-port", port],
        "expected host:port": ["status", "--url", "nonsense"],
        "both name a server": ["status", "--url", "a:1", "--http-port", 1],
    }
    for sentence, arguments in mistakes.items():
        done = modelyard(*arguments)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("error: ")
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_doctor_finds_this_machine_well(
    modelyard: Callable[..., subprocess.CompletedProcess[str]], options: ServerOptions
) -> None:
    """On a machine on which the tests run nothing fails, for people and for scripts."""
    findings: list[dict[str, Any]] = json.loads(modelyard("doctor", "--json").stdout)
    verdicts = {finding["subject"]: finding["verdict"] for finding in findings}
    assert "fail" not in verdicts.values()
    assert (verdicts["Triton"], verdicts["numpy"], verdicts["servers"]) == ("ok", "ok", "ok")
    shown = modelyard("doctor", "--repository", options.repository)
    assert shown.returncode == 0
    assert f"{options.repository}, all 1 models built" in shown.stdout


def test_the_doctor_says_how_to_mend(
    modelyard: Callable[..., subprocess.CompletedProcess[str]], environment: dict[str, str], tmp_path: Path
) -> None:
    """A cache that cannot be written is a failure, with the way out, and the exit code says so."""
    (tmp_path / "file").touch()
    environment["MODELYARD_CACHE"] = str(tmp_path / "file" / "cache")
    done = modelyard("doctor")
    assert done.returncode == 1
    assert "cannot be written. Name another cache folder in MODELYARD_CACHE." in done.stdout
