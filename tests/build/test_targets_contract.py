"""What every listed target keeps to, whichever it is: its names, its config, its artefact, its refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from modelyard_build import export, precision, verify
from modelyard_build.errors import BuildError
from modelyard_build.repository import config
from modelyard_build.repository.releases import DEFAULT_RELEASE, release
from modelyard_build.sources import artefact_key, candidate_key
from modelyard_build.targets import ALL, BASE, CANDIDATES, TARGETS, onnxruntime, select, target_of
from modelyard_build.targets.target import Candidate, Source
from modelyard_build.wanted import serves
from support.silent import Silent
from support.small_encoder import ENCODER, examples, load

MODEL = replace(ENCODER, calibration=examples)
RELEASE = release(DEFAULT_RELEASE)
each = pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each precision's graph is made once."""
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "fp32").mkdir()
    onnxruntime.write(export.export(MODEL, load({}), {}), folder / "fp32")
    return folder


@pytest.fixture
def source(graphs: Path, candidate: Candidate) -> Source:
    """What the candidate is made from."""

    def graph(wanted: str) -> Path:
        path = graphs / wanted / "model.onnx"
        if not path.exists():
            base = graphs / "fp32" / "model.onnx"
            converted = precision.convert(wanted, base, made, candidate.quality)
            path.parent.mkdir()
            onnxruntime.write(converted.proto, path.parent)
        return path

    made = Source(MODEL, {}, lambda: load({}), graph, RELEASE, Silent())
    return made


@each
def test_its_name_says_target_and_precision(candidate: Candidate) -> None:
    """`openvino-bf16` is the target openvino in bf16; no two have one name."""
    assert candidate.name.startswith(f"{candidate.target}-")
    assert candidate.name.endswith(f"-{candidate.precision}")
    assert target_of(candidate).name == candidate.target
    assert [item.name for item in CANDIDATES].count(candidate.name) == 1


@each
def test_its_config_is_tritons_and_names_it_alone(candidate: Candidate) -> None:
    """The config written for it parses as Triton's ModelConfig, and no other candidate is what it serves."""
    text = config.render(MODEL, serving=target_of(candidate).serving(candidate, MODEL))
    stated = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert stated.backend == candidate.target
    assert stated.max_batch_size == MODEL.max_batch_size
    assert [item.name for item in CANDIDATES if serves(stated, item)] == [candidate.name]


@each
def test_its_config_passes_the_check_of_a_build(candidate: Candidate, tmp_path: Path) -> None:
    """What the build writes contradicts no artefact of the same model."""
    path = tmp_path / "config.pbtxt"
    path.write_text(config.render(MODEL, serving=target_of(candidate).serving(candidate, MODEL)))
    config.check(path, MODEL)


@each
def test_what_cannot_be_is_said_in_one_line(candidate: Candidate) -> None:
    """Missing libraries and devices are a sentence for people, never an exception."""
    target = target_of(candidate)
    for reason in (target.missing(candidate), target.cannot_run(candidate)):
        assert "\n" not in reason
        assert reason == reason.strip()


@each
def test_its_key_follows_its_files_and_its_settings(candidate: Candidate) -> None:
    """Another graph makes other files; another setting makes another candidate of the same files."""
    distributions = target_of(candidate).distributions
    files = artefact_key(candidate, distributions, "", "one")
    assert files == artefact_key(candidate, distributions, "", "one")
    assert files != artefact_key(candidate, distributions, "", "another")
    other = replace(candidate, parameters={**candidate.parameters, "MORE": "1"})
    assert artefact_key(other, distributions, "", "one") == files
    assert candidate_key(other, files) != candidate_key(candidate, files)


@each
def test_its_artefact_answers_as_pytorch(candidate: Candidate, source: Source, tmp_path: Path) -> None:
    """Written for real where it can be, run where it can be, and within the bound of its class."""
    target = target_of(candidate)
    if reason := target.missing(candidate):
        pytest.skip(reason)
    record = target.write(candidate, source, tmp_path)
    assert (tmp_path / candidate.filename).stat().st_size > 0
    assert json.loads(json.dumps(record)) == record
    if reason := target.cannot_run(candidate):
        pytest.skip(f"written; {reason}")
    run = target.runner(candidate, tmp_path, MODEL)
    evidence = verify.verify(MODEL, load({}), run, {}, candidate.quality)
    assert evidence["outputs"]["embedding"]["min_cosine"] >= candidate.quality.min_cosine


@each
def test_a_file_that_is_none_of_its_kind_is_refused_in_words(candidate: Candidate, tmp_path: Path) -> None:
    """A damaged artefact is a BuildError that names the file."""
    target = target_of(candidate)
    if reason := target.missing(candidate) or target.cannot_run(candidate):
        pytest.skip(reason)
    (tmp_path / candidate.filename).write_bytes(np.random.default_rng(1).bytes(4096))
    with pytest.raises(BuildError, match=candidate.filename):
        target.runner(candidate, tmp_path, MODEL)


def test_the_portable_candidate_is_always_among_them() -> None:
    """config.pbtxt names it, so that each version has to hold it."""
    assert select([]) == [BASE]
    assert select(["openvino-bf16"]) == [BASE, next(item for item in CANDIDATES if item.name == "openvino-bf16")]
    assert select([ALL]) == list(CANDIDATES)


def test_candidates_are_selected_by_their_device() -> None:
    """`--targets cpu` leaves out what needs a GPU; `gpu` is those and the portable one."""
    assert not any(item.needs_gpu for item in select(["cpu"]))
    assert all(item.needs_gpu for item in select(["gpu"]) if item is not BASE)
    assert {item.name for item in (*select(["cpu"]), *select(["gpu"]))} == {item.name for item in CANDIDATES}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target_is_selected_by_its_name(target: object) -> None:
    """`--targets openvino` is every candidate of openvino."""
    name = target.name  # type: ignore[attr-defined]  # pytest types parameters as object
    assert [item for item in select([name]) if item.target == name] == [
        item for item in CANDIDATES if item.target == name
    ]


def test_an_unknown_target_gets_a_suggestion() -> None:
    """A slip of the pen is named with what was probably meant."""
    with pytest.raises(BuildError, match="Did you mean openvino-bf16"):
        select(["openvino-bf61"])
