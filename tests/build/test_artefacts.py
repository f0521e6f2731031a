"""Making candidates: proven or refused with the reason, remembered, and never half made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard_build import artefacts
from modelyard_build.artefacts import Made, Workshop, as_record, make
from modelyard_build.assets import cache_dir
from modelyard_build.errors import VerificationFailed
from modelyard_build.model import Model
from modelyard_build.plan import plan
from modelyard_build.repository import manifest
from modelyard_build.repository.releases import DEFAULT_RELEASE, release
from modelyard_build.stage import stage
from modelyard_build.targets import openvino
from support.candidates import (
    Steps,
    Untraceable,
    WrongWhenExported,
    WrongWhenTraced,
    build,
    declare_only,
    loading,
    short_rounds,
)
from support.small_models import POOLER, Pooler

RELEASE = release(DEFAULT_RELEASE)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    short_rounds(monkeypatch)


@pytest.fixture
def steps() -> Steps:
    """What the build does, in order."""
    return Steps()


def make_all(model: Model, repository: Path, steps: Steps, *targets: str) -> list[Made]:
    """Stages a model and makes what is due, as the build does."""
    with pytest.MonkeyPatch.context() as patch:
        declare_only(patch, model)
        (planned,) = plan([model], repository, targets)
        return make(Workshop(stage(planned, RELEASE, steps), RELEASE, steps), planned.due)


def by_name(made: list[Made]) -> dict[str, Made]:
    return {one.name: one for one in made}


def made_steps(steps: Steps) -> list[str]:
    """What was written or verified."""
    return [step for step in steps.seen if step.startswith(("write", "verify"))]


def test_each_candidate_is_proven_with_its_evidence(tmp_path: Path, steps: Steps) -> None:
    """The record says what was proven, in which class, on what, and which files it has."""
    found = by_name(make_all(POOLER, tmp_path / "repository", steps, "openvino-bf16", "pytorch-fp32"))
    record = as_record(found["openvino-bf16"])
    assert (record["quality"], record["proven"], record["not_run"]) == ("near", "artefact", "")
    assert record["files"] == ["model.bin", "model.xml"]
    assert record["verification"]["outputs"]["scores"]["min_cosine"] >= 0.9999
    assert set(record["seconds"]) == {"write openvino-bf16", "verify openvino-bf16"}
    assert all(one.runs_here for one in found.values())
    assert json.loads(json.dumps(record)) == record


def test_candidates_that_differ_in_settings_share_their_files(tmp_path: Path, steps: Steps) -> None:
    """openvino-fp32 and openvino-bf16 are one file, written once and proven twice."""
    found = by_name(make_all(POOLER, tmp_path / "repository", steps, "openvino-fp32", "openvino-bf16"))
    assert found["openvino-fp32"].folder == found["openvino-bf16"].folder
    assert [step for step in made_steps(steps) if "openvino" in step] == [
        "write openvino-fp32",
        "verify openvino-fp32",
        "verify openvino-bf16",
    ]


def test_one_that_differs_from_pytorch_is_refused_and_the_rest_goes_on(tmp_path: Path, steps: Steps) -> None:
    """The verdict names output and element, stands in the record, and is said; what comes after it is made."""
    found = by_name(make_all(loading(WrongWhenTraced), tmp_path / "repository", steps, "pytorch-fp32", "openvino-fp32"))
    refused = found["pytorch-fp32"]
    assert "output 'scores' differs from PyTorch by" in refused.refused
    assert as_record(refused)["files"] == []
    assert as_record(refused)["refused"] == refused.refused
    assert refused.record["retry"] is False
    assert not refused.runs_here
    assert any(line.startswith("pooler: pytorch-fp32 is refused: ") for line in steps.said)
    assert found["openvino-fp32"].refused == found["onnxruntime-fp32"].refused == ""


def test_a_portable_candidate_that_fails_stops_the_build(tmp_path: Path, steps: Steps) -> None:
    """Every version needs it: its failure is raised, and nothing is remembered of it."""
    with pytest.raises(VerificationFailed, match="output 'scores' differs from PyTorch by"):
        make_all(loading(WrongWhenExported), tmp_path / "repository", steps, "openvino-fp32")
    assert not list(cache_dir().glob("evidence/*"))


def test_nothing_is_made_twice(tmp_path: Path, steps: Steps) -> None:
    """A second repository is filled from the cache: no step runs, and the records are the same."""
    model = loading(WrongWhenTraced)
    targets = ("pytorch-fp32", "openvino-fp32")
    before = [as_record(one) for one in make_all(model, tmp_path / "one", steps, *targets)]
    again = Steps()
    after = [as_record(one) for one in make_all(model, tmp_path / "two", again, *targets)]
    assert again.seen == []
    assert after == before


def test_what_could_not_be_made_is_tried_again(tmp_path: Path, steps: Steps) -> None:
    """An ArtefactFailed is no verdict: it is refused for now, not remembered, and made where it can be made."""
    found = by_name(make_all(loading(Untraceable), tmp_path / "repository", steps, "pytorch-fp32"))
    assert "TorchScript cannot trace the module: this module is not for TorchScript" in found["pytorch-fp32"].refused
    assert found["pytorch-fp32"].record["retry"] is True
    again = Steps()
    make_all(loading(Untraceable), tmp_path / "repository", again, "pytorch-fp32")
    assert made_steps(again) == ["write pytorch-fp32"]
    mended = by_name(make_all(loading(Pooler), tmp_path / "repository", Steps(), "pytorch-fp32"))
    assert mended["pytorch-fp32"].refused == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_making_leaves_nothing(
    error: BaseException, tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C or a full disk half through a file: no folder, no evidence, and the next build makes it whole."""

    def half(*arguments: Any) -> None:
        (arguments[-1] / "model.xml").write_text("<half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(openvino.TARGET, "write", half, raising=False)
        with pytest.raises(type(error)):
            make_all(POOLER, tmp_path / "repository", steps, "openvino-fp32")
    assert len(list(cache_dir().glob("artefacts/*"))) == 1
    assert not list(cache_dir().glob("artefacts/.*"))
    assert len(list(cache_dir().glob("evidence/*"))) == 1
    found = by_name(make_all(POOLER, tmp_path / "repository", Steps(), "openvino-fp32"))
    assert found["openvino-fp32"].refused == ""


def test_what_cannot_run_here_is_proven_on_its_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """float16 for a GPU: the graph is run with its rounding; the record says so, and why not the artefact itself."""
    monkeypatch.setenv("MODELYARD_DEVICE", "cpu")
    found = by_name(make_all(POOLER, tmp_path / "repository", Steps(), "onnxruntime-fp16"))["onnxruntime-fp16"]
    assert found.refused == ""
    assert found.record["proven"] == "graph"
    assert "no GPU" in found.record["not_run"]
    assert not found.runs_here


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Path]:
    """A version with a refused candidate beside good ones, as the build published it."""
    with pytest.MonkeyPatch.context() as patch:
        declare_only(patch, loading(WrongWhenTraced))
        build(tmp_path / "repository", "pytorch-fp32", "openvino-fp32")
        yield tmp_path / "repository" / "pooler" / "1"


def test_a_version_is_read_back_as_what_was_made(published: Path) -> None:
    """Refused candidates and those that today's targets do not know are left out."""
    record = manifest.read(published)
    record.candidates["gone-fp32"] = {**record.candidates["openvino-fp32"], "filename": "model.gone"}
    manifest.write(record, published)
    found = artefacts.published(published)
    assert [one.name for one in found] == ["onnxruntime-fp32", "openvino-fp32"]
    assert {one.folder for one in found} == {published}


def test_what_another_machine_proved_does_not_run_here(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that a GPU machine added to holds what this one cannot run: measuring and serving leave it out."""
    monkeypatch.setenv("MODELYARD_DEVICE", "cpu")
    record = manifest.read(published)
    record.candidates["onnxruntime-fp16"] = {**record.candidates["openvino-fp32"], "filename": "model.fp16.onnx"}
    manifest.write(record, published)
    found = by_name(artefacts.published(published))
    assert found["onnxruntime-fp16"].record["proven"] == "artefact"
    assert not found["onnxruntime-fp16"].runs_here
    assert found["openvino-fp32"].runs_here
