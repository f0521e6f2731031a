"""A small system with several candidates, built, proven and served by a real Triton."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from modelyard_build import pipeline, reverify
from modelyard_build.choice import write_config
from modelyard_build.evaluations import classification
from modelyard_build.model import Arrays, Ensemble, Evaluation, Step
from modelyard_build.pipeline import Result
from modelyard_build.repository import manifest
from modelyard_build.repository.hardware import hardware
from modelyard_build.repository.manifest import Manifest
from modelyard_build.similarity import min_cosine
from modelyard_build.targets import openvino
from modelyard_build.verify import run_module
from modelyard_client import Client
from modelyard_ops.building import ServedRepository, serve_scratch, server_on_free_ports
from modelyard_ops.machine import announced_config_name
from support.candidates import Steps, candidate, declare_only, short_rounds
from support.small_models import POOLER, Pooler

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

TARGETS = ("openvino-fp32", "openvino-bf16", "pytorch-fp32")
SIZES = {"sequence": 9}
CLASSES = ("a", "b", "c", "d", "e")


def tokens(files: Mapping[str, Path], batch: int) -> Arrays:
    return POOLER.examples(files, batch, SIZES)


def answers(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    return run_module(POOLER, Pooler().eval(), inputs)


def labelled(files: Mapping[str, Path]) -> tuple[Arrays, npt.NDArray[np.int64]]:
    inputs = tokens(files, 100)
    return inputs, answers(files, inputs)["scores"].argmax(1)


def names_to_themselves(names: Sequence[str]) -> dict[str, str]:
    return {name: name for name in names}


POOLED = Ensemble(
    name="pooled",
    summary="the pooler behind another name",
    steps=[Step("pooler", names_to_themselves(["input_ids", "attention_mask"]), names_to_themselves(["scores"]))],
    inputs=POOLER.inputs,
    outputs=POOLER.outputs,
    examples=tokens,
    reference=answers,
    assets={},
    max_batch_size=16,
    verified_items=40,
    evaluation=Evaluation(labelled, classification("scores"), "none"),
)


@contextlib.contextmanager
def serve_a_broken_archive(repository: Path) -> Iterator[ServedRepository]:
    """The same Triton; the TorchScript file that it is to load is none."""
    for link in repository.glob("*--pytorch-fp32/1/model.pt"):
        link.unlink()
        link.write_bytes(b"no archive")
    with serve_scratch(repository) as served:
        yield served


@dataclass(frozen=True)
class Built:
    """Two builds of the system into one repository."""

    repository: Path
    first: list[Result]
    first_manifest: Manifest
    second: list[Result]

    @property
    def manifest(self) -> Manifest:
        """The pooler's, after both."""
        return manifest.read(self.repository / "pooler" / "1")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """First with a Triton that cannot load pytorch-fp32, then with one that can."""
    repository = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MODELYARD_DEVICE", "cpu")
        declare_only(patch, POOLER, POOLED)
        short_rounds(patch)
        first = pipeline.build([], repository, serve_a_broken_archive, Steps(), TARGETS)
        first_manifest = manifest.read(repository / "pooler" / "1")
        second = pipeline.build([], repository, serve_scratch, Steps(), TARGETS)
        yield Built(repository, first, first_manifest, second)


def test_one_that_triton_does_not_load_is_refused_alone(built: Built) -> None:
    """Proven in this process, refused by the server: the reason is recorded, and the system is published without it."""
    refused = built.first_manifest.candidates["pytorch-fp32"]
    assert "pooler--pytorch-fp32" in refused["refused"]
    assert "model.pt" in refused["refused"]
    assert refused["retry"] is True
    assert "model.pt" not in built.first_manifest.files
    assert [(result.model, result.built) for result in built.first] == [("pooler", True), ("pooled", True)]
    assert not built.first_manifest.candidates["openvino-bf16"]["refused"]


def test_it_is_added_when_triton_loads_it(built: Built) -> None:
    """The next build tries it again and completes version 1; nothing else is built."""
    pooler, pooled = built.second
    assert (pooler.built, pooler.version, pooler.added) == (False, 1, ["pytorch-fp32"])
    assert (pooled.built, pooled.added) == (False, [])
    assert {name: described for name, described in built.manifest.files.items() if name != "model.pt"} == (
        built.first_manifest.files
    )
    assert manifest.damage(built.repository / "pooler" / "1", built.manifest) == ""


@pytest.mark.parametrize("name", TARGETS)
def test_each_candidate_is_proven_through_its_ensemble(built: Built, name: str) -> None:
    """Its record has the served cosine, the class that it was held to, and the task's figures."""
    record = built.manifest.candidates[name]
    served = openvino.TARGET.served_quality(candidate(name), hardware())
    assert record["served"]["quality"] == (served if name.startswith("openvino") else candidate(name).quality).name
    assert record["served"]["pooled"]["items"] == 40
    assert record["served"]["pooled"]["grpc"]["scores"]["min_cosine"] >= 0.9999
    assert record["metrics"]["pooled"]["served"]["accuracy"] >= 0.99


def test_all_of_them_are_measured_on_this_kind_of_machine(built: Built) -> None:
    """Also those that an earlier build published: they stand beside each other in the newest measurement."""
    assert set(built.manifest.measurements[hardware().name]["candidates"]) == {
        "eager PyTorch",
        "onnxruntime-fp32",
        *TARGETS,
    }


def test_the_config_of_this_kind_of_machine_serves(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    """What the build writes for a choice is what `serve` asks Triton for here; its answers are PyTorch's."""
    folder = built.repository / "pooler"
    (folder / "configs" / f"{hardware().name}.pbtxt").unlink(missing_ok=True)
    measurement = built.manifest.measurements[hardware().name]
    choice = write_config(POOLER, folder, measurement, candidate("openvino-bf16"), hardware())
    assert choice.path
    name = announced_config_name(built.repository, None)
    assert name == choice.path.stem == hardware().name
    assert "openvino-bf16" in capsys.readouterr().err
    inputs = tokens({}, 16)
    with server_on_free_ports(built.repository, name) as server, Client(f"grpc://{server.grpc_url}") as client:
        scores = client.infer("pooled", inputs)["scores"]
        assert client.config("pooler").backend == "openvino"
        assert client.config("pooler").parameters["HINT_BF16"].string_value == "YES"
    assert min_cosine(answers({}, inputs)["scores"], scores) >= 0.9999


@pytest.fixture
def fewer(built: Built, tmp_path: Path) -> Path:
    """A copy whose manifest tells of one candidate: each is another server to start."""
    repository = shutil.copytree(built.repository, tmp_path / "repository")
    found = manifest.read(repository / "pooler" / "1")
    for name in ("onnxruntime-fp32", "openvino-fp32", "openvino-bf16"):
        del found.candidates[name]
    manifest.write(found, repository / "pooler" / "1")
    shutil.rmtree(repository / "pooler" / "configs", ignore_errors=True)
    return repository


def test_what_is_published_holds_when_it_is_verified_again(fewer: Path) -> None:
    """In this process and through Triton: the candidate, the ensemble, and the candidate in the ensemble."""
    found = list(reverify.verify([], fewer, serve_scratch, Steps()))
    assert [(finding.what, finding.failed) for finding in found if finding.failed or finding.skipped] == []
    assert [(finding.model, finding.what) for finding in found] == [
        ("pooler", "pytorch-fp32"),
        ("pooled", "through Triton"),
        ("pooler", "pytorch-fp32 through Triton"),
    ]
