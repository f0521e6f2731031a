"""Steps that stream, call models and keep state: built, proven as they are asked, and proven again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelyard_build import pipeline, reverify
from modelyard_build.errors import ConfigContradiction, VerificationFailed
from modelyard_build.model import Arrays
from modelyard_build.repository import manifest
from modelyard_client import Client
from modelyard_ops.building import serve_scratch, server_on_free_ports
from modelyard_ops.commands.systems import systems
from modelyard_ops.errors import OpsError
from modelyard_ops.perf import Plan
from modelyard_ops.perf.server import served_model
from support.candidates import Steps, declare_only, short_rounds
from support.step_kinds import NET, counter, spelled, speller
from support.triton import fresh_cache

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def nothing_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh cache, and short measurements."""
    fresh_cache(tmp_path, monkeypatch)
    short_rounds(monkeypatch)


def test_what_streams_and_what_keeps_state_is_proven_and_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Streams element for element, sequences in their order, the figures; candidates of a net behind its caller."""
    declare_only(monkeypatch, NET, speller(tmp_path), counter(tmp_path))
    repository = tmp_path / "repo"
    pipeline.build([], repository, serve_scratch, Steps(), ["openvino-fp32"])
    found = manifest.read(repository / "speller" / "1")
    assert found.verification["equal"] == ["best", "said"]
    assert found.metrics["served"] == {"accuracy": 1.0, "error rate": 0.0}
    assert set(found.steps) == {NET.name}
    net = manifest.read(repository / NET.name / "1")
    assert net.candidates["openvino-fp32"]["metrics"]["speller"]["served"]["accuracy"] == 1.0
    assert manifest.read(repository / "counter" / "1").verification["items"] == 23
    again = list(reverify.verify([], repository, serve_scratch, Steps()))
    assert [finding.failed for finding in again] == [""] * len(again)
    with server_on_free_ports(repository) as server, Client(f"grpc://{server.grpc_url}") as client:
        said = [answer["said"][0] for answer in client.stream("speller", {"tokens": np.array([4, 5, 6], np.int64)})]
        # Whose requests perf_analyzer cannot tell apart.
        with pytest.raises(OpsError, match="'speller' answers each request with a stream"):
            served_model(Plan("speller", server.grpc_url))
    assert len(said) == 2
    capsys.readouterr()
    systems([], repository, seconds=0.3, callers=2, as_json=True)
    rows = {row["system"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == {"speller", "counter"}
    assert rows["speller"]["figures"] == "accuracy 1 / 1\nerror rate 0 / 0"
    assert rows["speller"]["target"] == "onnxruntime-fp32"
    assert rows["speller"]["parity"] == "equal, 6 items"
    assert 0 < rows["speller"]["first_ms"] <= rows["speller"]["p50_ms"] <= rows["speller"]["p99_ms"]
    assert rows["counter"]["requests_per_second"] > 0


def test_a_stream_that_is_another_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One response too few is told with the item."""

    def longer(files: object, inputs: Arrays) -> Arrays:
        outputs = spelled({}, inputs)
        return {name: np.concatenate([array, array[:, -1:]], axis=1) for name, array in outputs.items()}

    declare_only(monkeypatch, NET, replace(speller(tmp_path), reference=longer, evaluation=None))
    with pytest.raises(VerificationFailed, match="speller: item 0 is answered by 4 responses; its reference has 5"):
        pipeline.build([], tmp_path / "repo", serve_scratch, Steps())
    assert not list((tmp_path / "repo").glob("*/1"))


@pytest.mark.parametrize(
    ("name", "line", "instead", "said"),
    [
        ("speller", "decoupled: true", "decoupled: false", "answers with a stream; write decoupled: true"),
        ("counter", 'name: "CORRID"', 'name: "ID"', "needs the control input 'CORRID'"),
        ("speller", 'key: "net"', 'key: "nets"', "parameter 'net' is missing"),
    ],
)
def test_a_config_that_contradicts_the_kind_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: str, instead: str, said: str
) -> None:
    """Decoupled, the control inputs, the models that are called: with file and line, before anything is made."""
    from modelyard_build.repository import config

    declare_only(monkeypatch, NET, speller(tmp_path), counter(tmp_path))
    model = {"speller": speller, "counter": counter}[name](tmp_path)
    folder = tmp_path / "repo" / name
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config.render(model).replace(line, instead))
    with pytest.raises(ConfigContradiction, match=said):
        pipeline.build([], tmp_path / "repo", serve_scratch, Steps())
