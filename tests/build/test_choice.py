"""The choice: the fastest candidate within the bound, beyond doubt, as it will be served; its config, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from modelyard_build.choice import CLASSES, choose, write_config
from modelyard_build.measuring import PYTORCH
from modelyard_build.quality import EXACT, NEAR, QUANTISED
from modelyard_build.repository import config
from modelyard_build.repository.hardware import Hardware
from modelyard_build.targets import BASE, CANDIDATES
from modelyard_build.wanted import serves
from support.candidates import candidate
from support.small_models import POOLER

NATIVE = Hardware("cpu-avx512-bf16", 2, True, None)
PLAIN = Hardware("cpu-avx2", 2, False, None)
RECORDS: dict[str, Any] = {item.name: {"refused": ""} for item in CANDIDATES}


def measurement(**ratios: tuple[float, float]) -> dict[str, Any]:
    """What `measure` tells: for each candidate (underscores for hyphens) the interval of its ratio to PyTorch."""
    found = {
        name.replace("_", "-"): {"ratio": [(low + high) / 2, low, high], "throughput": 100 * (low + high) / 2}
        for name, (low, high) in ratios.items()
    }
    return {
        "batch": 8,
        "sizes": {"sequence": 12},
        "candidates": {PYTORCH: {"ratio": [1, 1, 1], "throughput": 100.0}, **found},
    }


def best(found: dict[str, Any], hardware: Hardware = PLAIN, bound: str = "near", **refused: str) -> str:
    records = {**RECORDS, **{name.replace("_", "-"): {"refused": reason} for name, reason in refused.items()}}
    return choose(found, records, hardware, bound).name


def test_the_fastest_wins() -> None:
    """By the lower end of its interval, wherever it stands in the list."""
    found = measurement(onnxruntime_fp32=(1.0, 1.2), openvino_fp32=(1.5, 1.7), pytorch_fp32=(1.3, 1.4))
    assert best(found) == "openvino-fp32"
    found = measurement(onnxruntime_fp32=(1.0, 1.2), openvino_fp32=(1.3, 1.4), pytorch_fp32=(1.5, 1.7))
    assert best(found) == "pytorch-fp32"


def test_the_portable_one_stays_where_intervals_overlap() -> None:
    """A mean that is higher is not enough: faster beyond doubt is."""
    assert best(measurement(onnxruntime_fp32=(1.0, 1.5), openvino_fp32=(1.4, 2.5))) == BASE.name
    assert best(measurement(onnxruntime_fp32=(1.0, 1.5), openvino_fp32=(1.5, 2.5))) == BASE.name
    assert best(measurement(onnxruntime_fp32=(1.0, 1.5), openvino_fp32=(1.51, 2.5))) == "openvino-fp32"


def test_alone_the_portable_one_is_the_choice() -> None:
    """A version that holds nothing else, however slow it is against PyTorch."""
    assert best(measurement(onnxruntime_fp32=(0.3, 0.4))) == BASE.name


def test_the_bound_decides_which_classes_compete() -> None:
    """Exact leaves out bfloat16, near leaves out int8, quantised takes all."""
    found = measurement(onnxruntime_fp32=(1, 1.1), pytorch_fp32=(2, 3), openvino_bf16=(4, 5), openvino_int8=(8, 9))
    assert [best(found, NATIVE, bound) for bound in CLASSES] == ["pytorch-fp32", "openvino-bf16", "openvino-int8"]
    assert [EXACT.name, NEAR.name, QUANTISED.name] == list(CLASSES)


def test_a_refused_candidate_is_never_chosen() -> None:
    """Not even with a figure from before it was refused in its system."""
    found = measurement(onnxruntime_fp32=(1, 1.1), openvino_fp32=(2, 3), pytorch_fp32=(1.5, 1.6))
    assert best(found, openvino_fp32="it differs") == "pytorch-fp32"


def test_what_did_not_run_here_is_never_chosen() -> None:
    """A candidate for a GPU has no figure on a CPU, whatever the version holds."""
    assert best(measurement(onnxruntime_fp32=(1, 1.1)), bound="quantised") == BASE.name


def test_what_would_be_served_in_another_precision_is_never_chosen() -> None:
    """OpenVINO serves openvino-fp32 in bfloat16 on a CPU that has it: there its float32 figure says nothing."""
    found = measurement(onnxruntime_fp32=(1, 1.1), openvino_fp32=(2, 3))
    assert best(found, PLAIN) == "openvino-fp32"
    for bound in CLASSES:
        assert best(found, NATIVE, bound) == BASE.name


def test_what_people_have_to_configure_is_never_chosen() -> None:
    """An archive of Inductor may be the fastest; its config is written by hand."""
    found = measurement(onnxruntime_fp32=(1, 1.1), pytorch_aoti_fp32=(5, 6))
    assert candidate("pytorch-aoti-fp32").by_hand
    assert best(found) == BASE.name


FASTER = measurement(onnxruntime_fp32=(1, 1.1), openvino_fp32=(1.5, 1.6), openvino_bf16=(2, 3))


def test_the_best_ones_config_is_written(tmp_path: Path) -> None:
    """Under the name of the kind of machine; it serves the candidate, fits the model, and its head says why."""
    choice = write_config(POOLER, tmp_path, FASTER, candidate("openvino-bf16"), NATIVE)
    path = tmp_path / "configs" / "cpu-avx512-bf16.pbtxt"
    assert (choice.name, choice.path, choice.conflict) == ("openvino-bf16", path, "")
    assert choice.reason == "250 items/s at batch 8, sequence 12 against the portable 105"
    config.check(path, POOLER)
    assert [item.name for item in CANDIDATES if serves(config.read(path), item)] == ["openvino-bf16"]
    assert path.read_text().splitlines()[1] == f"# For cpu-avx512-bf16: openvino-bf16, {choice.reason}."


def test_the_portable_one_needs_no_config(tmp_path: Path) -> None:
    """config.pbtxt serves it: nothing is written."""
    choice = write_config(POOLER, tmp_path, FASTER, BASE, NATIVE)
    assert (choice.name, choice.path, choice.conflict) == (BASE.name, None, "")
    assert "no other that keeps the bound is faster beyond doubt" in choice.reason
    assert list(tmp_path.iterdir()) == []


def test_a_config_is_written_once(tmp_path: Path) -> None:
    """Other figures alone change nothing, and are no conflict."""
    before = write_config(POOLER, tmp_path, FASTER, candidate("openvino-bf16"), NATIVE)
    assert before.path
    text, stat = before.path.read_text(), before.path.stat()
    other = measurement(onnxruntime_fp32=(1, 1.1), openvino_bf16=(3, 4))
    after = write_config(POOLER, tmp_path, other, candidate("openvino-bf16"), NATIVE)
    assert after.reason != before.reason
    assert after.conflict == ""
    assert (before.path.read_text(), before.path.stat()) == (text, stat)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Without this block", "# Ours: without this block"),
        ("max_batch_size: 16", "max_batch_size: 16 # ours"),
        ("\n\n", "\n"),
    ],
)
def test_comments_and_blank_lines_are_no_conflict(old: str, new: str, tmp_path: Path) -> None:
    """What people note beside the settings is theirs."""
    path = write_config(POOLER, tmp_path, FASTER, candidate("openvino-bf16"), NATIVE).path
    assert path
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert write_config(POOLER, tmp_path, FASTER, candidate("openvino-bf16"), NATIVE).conflict == ""


def test_a_config_edited_by_hand_stays_and_the_difference_is_said(tmp_path: Path) -> None:
    """Neither another setting nor another candidate is overwritten; the lines that differ are told, both ways."""
    path = write_config(POOLER, tmp_path, FASTER, candidate("openvino-bf16"), NATIVE).path
    assert path
    edited = path.read_text().replace("count: 2", "count: 1")
    path.write_text(edited)
    conflict = write_config(POOLER, tmp_path, FASTER, candidate("openvino-bf16"), NATIVE).conflict
    assert str(path) in conflict
    assert "-instance_group [ { count: 1, kind: KIND_CPU } ]" in conflict.splitlines()
    assert "+instance_group [ { count: 2, kind: KIND_CPU } ]" in conflict.splitlines()
    conflict = write_config(POOLER, tmp_path, FASTER, candidate("openvino-fp32"), NATIVE).conflict
    assert "HINT_BF16" in conflict
    assert path.read_text() == edited


def test_a_config_that_keeps_the_portable_one_from_serving_is_said(tmp_path: Path) -> None:
    """The portable candidate is best now, but the config of an earlier build still names another."""
    path = write_config(POOLER, tmp_path, FASTER, candidate("openvino-bf16"), NATIVE).path
    assert path
    choice = write_config(POOLER, tmp_path, FASTER, BASE, NATIVE)
    assert choice.path == path
    assert "config.pbtxt, which serves onnxruntime-fp32, is not read on cpu-avx512-bf16" in choice.conflict
    path.write_text(config.render(POOLER))
    assert write_config(POOLER, tmp_path, FASTER, BASE, NATIVE).conflict == ""


def test_warmup_files_that_stand_are_used(tmp_path: Path) -> None:
    """The new config warms up with the samples that lie beside the versions."""
    (tmp_path / "warmup").mkdir()
    for tensor in POOLER.inputs:
        (tmp_path / "warmup" / tensor.name).write_bytes(bytes(8 * 24))
    path = write_config(POOLER, tmp_path, FASTER, candidate("openvino-bf16"), NATIVE).path
    assert path
    stated = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    assert {name: list(item.dims) for name, item in stated.model_warmup[0].inputs.items()} == {
        "input_ids": [24],
        "attention_mask": [24],
    }
