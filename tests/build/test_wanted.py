"""Which candidates a version has to hold: the portable one, what is asked for, and what the configs name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard_build.errors import ConfigContradiction, UnknownTarget
from modelyard_build.repository import config
from modelyard_build.targets import BASE, CANDIDATES
from modelyard_build.wanted import Wanted, named_by_configs, serves, wanted
from support.candidates import candidate, config_for
from support.small_models import POOLER, examples

CALIBRATED = replace(POOLER, calibration=examples)


def names(found: tuple[Wanted, ...]) -> list[str]:
    return [item.candidate.name for item in found]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_by_default_the_portable_one_is_wanted(tmp_path: Path) -> None:
    """Without names and configs it is one, it can be built everywhere, and nobody but the caller asked."""
    (found,) = wanted(POOLER, tmp_path, "key", [])
    assert (found.candidate, found.unavailable, found.asked_by) == (BASE, "", None)


def test_names_bring_theirs(tmp_path: Path) -> None:
    """A candidate's name brings it, a target's name all of its own; the order is the list's."""
    assert names(wanted(POOLER, tmp_path, "key", ["pytorch-fp32", "openvino-bf16"])) == [
        "onnxruntime-fp32",
        "openvino-bf16",
        "pytorch-fp32",
    ]
    assert names(wanted(CALIBRATED, tmp_path, "key", ["openvino"])) == [
        "onnxruntime-fp32",
        "openvino-fp32",
        "openvino-bf16",
        "openvino-int8",
    ]


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    """With what was probably meant."""
    with pytest.raises(UnknownTarget, match="Did you mean openvino"):
        wanted(POOLER, tmp_path, "key", ["openvin"])


@pytest.mark.parametrize("name", ["config.pbtxt", "configs/cpu-amx.pbtxt", "configs/mine.pbtxt"])
def test_what_a_config_names_is_wanted(name: str, tmp_path: Path) -> None:
    """Whichever config names a file, the version has to hold it, and the config is remembered."""
    path = write(tmp_path, name, config_for("openvino-bf16"))
    found = {item.candidate.name: item.asked_by for item in wanted(POOLER, tmp_path, "key", [])}
    assert found == {"onnxruntime-fp32": None, "openvino-bf16": path}


def test_what_is_asked_for_by_both_counts_as_asked_by_the_caller(tmp_path: Path) -> None:
    """It is wanted once."""
    write(tmp_path, "configs/cpu-amx.pbtxt", config_for("openvino-fp32"))
    found = {item.candidate.name: item.asked_by for item in wanted(POOLER, tmp_path, "key", ["openvino-fp32"])}
    assert found == {"onnxruntime-fp32": None, "openvino-fp32": None}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'backend: "openvino" default_model_filename: "model.fp16.xml"',
            r"'openvino' with the file 'model\.fp16\.xml'",
        ),
        ('backend: "onnxruntime" default_model_filename: "tuned.onnx"', r"'onnxruntime' with the file 'tuned\.onnx'"),
        ('platform: "tensorrt_plan"', r"'tensorrt_plan' with the file 'model\.plan'"),
    ],
)
def test_a_config_for_a_file_that_nothing_writes_is_a_contradiction(text: str, words: str, tmp_path: Path) -> None:
    """The sentence begins with the config's path, and lists what the build makes."""
    path = write(tmp_path, "configs/cpu-amx.pbtxt", text)
    with pytest.raises(ConfigContradiction, match=words) as caught:
        wanted(POOLER, tmp_path, "key", [])
    assert str(caught.value).startswith(f"{path}: ")
    assert "model.xml for openvino" in str(caught.value)


def test_int8_without_calibration_data_is_unavailable_in_words(tmp_path: Path) -> None:
    """It stays wanted, with the reason; a model that declares the data has none."""
    before, after = (wanted(model, tmp_path, "key", ["onnxruntime-int8"])[1] for model in (POOLER, CALIBRATED))
    assert before.unavailable == "the model declares no calibration data"
    assert after.unavailable == ""


def test_another_graph_is_another_candidate(tmp_path: Path) -> None:
    """The model's key is in the keys of its files; settings alone are not."""
    (one,), (other,) = wanted(POOLER, tmp_path, "one", []), wanted(POOLER, tmp_path, "other", [])
    assert one.artefact_key != other.artefact_key
    fp32, bf16 = wanted(POOLER, tmp_path, "one", ["openvino-fp32", "openvino-bf16"])[1:]
    assert fp32.artefact_key == bf16.artefact_key
    assert fp32.key != bf16.key


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('platform: "onnxruntime_onnx"', "onnxruntime-fp32"),
        ('backend: "pytorch"', "pytorch-fp32"),
        ('platform: "pytorch_libtorch"', "pytorch-fp32"),
        ('platform: "torch_aoti"', "pytorch-aoti-fp32"),
        ('backend: "pytorch" default_model_filename: "model.pt2"', "pytorch-aoti-fp32"),
        ('backend: "openvino"', "openvino-fp32"),
        ('backend: "openvino" parameters { key: "HINT_BF16", value: { string_value: "YES" } }', "openvino-bf16"),
        ('platform: "tensorrt_plan" default_model_filename: "model.fp16.plan"', "tensorrt-fp16"),
        (
            'backend: "tensorrt" cc_model_filenames { key: "9.0", value: "model.bf16.sm90.plan" }',
            "tensorrt-bf16",
        ),
        ('backend: "onnxruntime" default_model_filename: "model.int8.onnx"', "onnxruntime-int8"),
    ],
)
def test_configs_of_every_form_are_understood(text: str, name: str, tmp_path: Path) -> None:
    """Backend or platform, a file's default name, a plan for another GPU: each is one candidate."""
    stated = config.read(write(tmp_path, "config.pbtxt", text))
    assert [item.name for item in CANDIDATES if serves(stated, item)] == [name]


def test_a_config_that_cannot_be_read_stops_the_plan(tmp_path: Path) -> None:
    """With file, line and column, as for config.pbtxt."""
    path = write(tmp_path, "configs/cpu-amx.pbtxt", "backend: openvino\n")
    with pytest.raises(ConfigContradiction, match=rf"{path}:1:10"):
        list(named_by_configs(tmp_path))


def test_what_only_a_gpu_has_is_wanted_with_the_reason_why_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config for a GPU machine does not stop a build on one without."""
    monkeypatch.setenv("MODELYARD_DEVICE", "cpu")
    write(tmp_path, "configs/gpu-sm90.pbtxt", config_for(candidate("tensorrt-fp16").name))
    (found,) = [item for item in wanted(POOLER, tmp_path, "key", []) if item.candidate.name == "tensorrt-fp16"]
    assert "TensorRT" in found.unavailable
