from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from modelyard_ops.commands.perf import perf
from modelyard_server.process import free_ports


def run(*arguments: str) -> Result:
    """Runs the command in this process."""
    app = typer.Typer()
    app.command()(perf)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concurrency", "1,x"], "--concurrency takes whole numbers such as 1,4,16; got 'x'"),
        (["--concurrency", ""], "--concurrency takes whole numbers such as 1,4,16; got ''"),
        (["--concurrency", "0"], "concurrency 0 is not between 1 and 1024"),
        (["--csv", "/absent/folder/x.csv"], "the CSV file /absent/folder/x.csv cannot be written"),
        (["--csv", "/"], "the CSV file / cannot be written: it is a folder"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_measured(arguments: list[str], message: str) -> None:
    """Each in one sentence; no server is asked."""
    assert message in str(run("texter", *arguments).exception)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path, protocol: str) -> None:
    """It names the address, the protocol and what to do."""
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps({"data": [{"text": ["a"]}]}))
    url = f"127.0.0.1:{free_ports(1)[0]}"
    result = run("texter", "--protocol", protocol, "--url", url, "--input-data", str(samples))
    assert f"no Triton answers {protocol} at {url}" in str(result.exception)
    assert "`modelyard serve`" in str(result.exception)


def test_help_shows_the_defaults() -> None:
    """A reader need not look into the source."""
    text = " ".join(run("--help").output.split())
    assert "1,4,16" in text
    assert "docs/perf.md" in text
