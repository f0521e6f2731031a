"""Which configs a server takes: those for this kind of machine where they stand, said with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_build.errors import BuildError, ConfigContradiction
from modelyard_build.repository import hardware as hardware_module
from modelyard_build.repository.cc_model_filenames import plan_filename
from modelyard_build.repository.config import Serving, render
from modelyard_build.repository.gpu import Gpu
from modelyard_build.repository.hardware import hardware
from modelyard_ops.machine import announced_config_name, filename_of, machine_configs
from support.candidates import config_for
from support.small_models import POOLER


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> str:
    """This machine's kind, as one without a GPU."""
    monkeypatch.setenv("MODELYARD_DEVICE", "cpu")
    return hardware().name


def write(repository: Path, model: str, kind: str, text: str, *files: str) -> Path:
    """A model with a version and a config for a kind of machine."""
    version = repository / model / "1"
    version.mkdir(parents=True)
    for name in files:
        (version / name).write_bytes(b"")
    path = repository / model / "configs" / f"{kind}.pbtxt"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_without_a_config_the_portable_one_serves(tmp_path: Path, kind: str) -> None:
    """No name for Triton, and one line that says so; configs of other machines are none of this one's."""
    write(tmp_path, "pooler", "gpu-sm90", config_for("tensorrt-fp16"), "model.onnx")
    found = machine_configs(tmp_path)
    assert found.name is None
    assert found.lines == [f"this machine is {kind}: no model has a config for it, config.pbtxt serves"]
    assert found.missing == []


def test_a_config_for_this_kind_is_taken_with_its_reason(tmp_path: Path, kind: str) -> None:
    """Its name goes to Triton; the line has the model, the file and what its head says."""
    text = render(POOLER, serving=Serving("openvino", "model.xml"), notes=(f"For {kind}: openvino-fp32, 3 items/s.",))
    write(tmp_path, "pooler", kind, text, "model.xml")
    write(tmp_path, "plain", kind, config_for("openvino-fp32"), "model.xml")
    found = machine_configs(tmp_path)
    assert found.name == kind
    assert f"this machine is {kind}: 2 of the models have a config for it" in found.lines[0]
    assert found.lines[1:] == [
        f"  plain serves configs/{kind}.pbtxt",
        f"  pooler serves configs/{kind}.pbtxt (openvino-fp32, 3 items/s)",
    ]
    assert found.missing == []


def test_a_config_whose_file_is_absent_is_said_before_triton_fails(tmp_path: Path, kind: str) -> None:
    """The config, the file, the version, and the command that makes it; a model without a version is not judged."""
    path = write(tmp_path, "pooler", kind, config_for("openvino-fp32"), "model.onnx")
    (write(tmp_path, "fresh", kind, config_for("openvino-fp32")).parents[1] / "1").rmdir()
    found = machine_configs(tmp_path)
    assert found.name == kind
    assert found.missing == [
        f"{path} names model.xml, which version 1 does not hold: the model will not load. Run: modelyard build pooler"
    ]


def test_the_newest_version_is_the_one_that_counts(tmp_path: Path, kind: str) -> None:
    """Triton loads it: what an older one holds does not help."""
    write(tmp_path, "pooler", kind, config_for("openvino-fp32"), "model.xml")
    (tmp_path / "pooler" / "2").mkdir()
    assert "which version 2 does not hold" in machine_configs(tmp_path).missing[0]


def test_a_plan_is_looked_up_by_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU cannot be had where these tests run: its answer is given. Its own plan counts, not the closed fallback."""
    monkeypatch.setenv("MODELYARD_DEVICE", "auto")
    monkeypatch.setattr(hardware_module, "find_gpu", lambda index=0: Gpu("NVIDIA H100 80GB HBM3", "9.0"))
    plans = {"9.0": plan_filename("model.fp16.plan", "9.0")}
    text = render(POOLER, serving=Serving("tensorrt", "model.fp16.plan", plans=plans))
    path = write(tmp_path, "pooler", "gpu-sm90", text, "model.fp16.sm90.plan")
    assert filename_of(path) == "model.fp16.sm90.plan"
    found = machine_configs(tmp_path)
    assert (found.name, found.missing) == ("gpu-sm90", [])


def test_what_is_asked_for_wins(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name is taken as it is, `default` means config.pbtxt everywhere; nothing is looked up or said."""
    write(tmp_path, "pooler", kind, config_for("openvino-fp32"))
    assert announced_config_name(tmp_path, "mine") == "mine"
    assert announced_config_name(tmp_path, "default") is None
    assert capsys.readouterr().err == ""


def test_what_is_chosen_is_said_on_stderr(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The kind, the models, and the files that are missing; stdout stays for results."""
    write(tmp_path, "pooler", kind, config_for("openvino-fp32"), "model.onnx")
    assert announced_config_name(tmp_path, None) == kind
    said = capsys.readouterr()
    assert said.out == ""
    assert f"this machine is {kind}" in said.err
    assert "names model.xml, which version 1 does not hold" in said.err


def test_mistakes_are_sentences(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config that cannot be read, and a wrong MODELYARD_DEVICE."""
    write(tmp_path, "pooler", kind, "backend: openvino")
    with pytest.raises(ConfigContradiction, match=r"pbtxt:1:10"):
        machine_configs(tmp_path)
    monkeypatch.setenv("MODELYARD_DEVICE", "tpu")
    with pytest.raises(BuildError, match="MODELYARD_DEVICE is 'tpu'"):
        machine_configs(tmp_path)
