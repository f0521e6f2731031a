"""What `config explain` says of each setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_build.repository.explain.effective import Origin, effective
from modelyard_build.repository.explain.effects import Context, Measured
from modelyard_build.repository.explain.settings import Setting, settings
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Config, Repository

IO = 'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }\n'
MEASURED = Measured("cpu-avx2, 2 cores", batch=16, latency_ms=20.0, throughput=120.0)


def config_of(folder: Path, text: str) -> Config:
    """A model `m` with this config."""
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "m" / "config.pbtxt").write_text(text)
    found = Repository(folder, Settings()).models["m"].config
    assert found
    assert found.is_valid
    return found


def explained(folder: Path, text: str, measured: Measured | None = None, has_gpu: bool = False) -> dict[str, Setting]:
    """Every setting of a config, by path."""
    config = config_of(folder, text)
    complete = effective(config, has_gpu)
    return {row.path: row for row in settings(config, complete, Context(complete.message, 2, measured))}


def test_what_is_written_has_its_line_and_the_rest_is_a_default(tmp_path: Path) -> None:
    """An operator sees at once which settings are theirs."""
    rows = explained(tmp_path, f'backend: "python"\n\nmax_batch_size: 8\n{IO}')
    assert (rows["max_batch_size"].origin, rows["max_batch_size"].line) == (Origin.WRITTEN, 3)
    assert (rows["instance_group[0].count"].origin, rows["instance_group[0].count"].line) == (Origin.DEFAULT, 0)
    assert rows["version_policy"].origin is Origin.DEFAULT


def test_each_element_of_a_list_has_its_own_line(tmp_path: Path) -> None:
    """Not the line at which the list begins."""
    tensors = (
        'output [\n  { name: "y" data_type: TYPE_FP32 dims: 1 },\n  { name: "z" data_type: TYPE_FP32 dims: 1 }\n]\n'
    )
    rows = explained(tmp_path, f'backend: "python"\n{tensors}')
    assert [rows[f"output[{index}]"].line for index in (0, 1)] == [3, 4]


@pytest.mark.parametrize(
    ("backend", "has_gpu", "kind", "count"),
    [
        ("onnxruntime", False, "KIND_CPU", "2"),
        ("onnxruntime", True, "KIND_GPU", "1"),
        ("python", False, "KIND_CPU", "1"),
    ],
)
def test_the_default_instances_are_triton_s(tmp_path: Path, backend: str, has_gpu: bool, kind: str, count: str) -> None:
    """Two of onnxruntime's on a CPU, one of anything else."""
    rows = explained(tmp_path, f'backend: "{backend}"\n{IO}', has_gpu=has_gpu)
    assert (rows["instance_group[0].kind"].value, rows["instance_group[0].count"].value) == (kind, count)


def test_the_queue_delay_is_told_against_what_was_measured(tmp_path: Path) -> None:
    """2 ms beside 20 ms are 10 %; without a figure nothing is claimed."""
    text = f'backend: "python" max_batch_size: 8 dynamic_batching {{ max_queue_delay_microseconds: 2000 }} {IO}'
    path = "dynamic_batching.max_queue_delay_microseconds"
    assert "2 ms" in (said := explained(tmp_path, text, MEASURED)[path].effect)
    assert "10% on top of the 20.0 ms" in said
    assert "%" not in explained(tmp_path / "unmeasured", text)[path].effect


def test_batching_is_told_against_what_was_measured(tmp_path: Path) -> None:
    """Items a second in batches, and one at a time."""
    text = f'backend: "python" max_batch_size: 8 dynamic_batching {{ }} {IO}'
    assert (
        "Batches of 16 make 120 items/s here, one at a time 50"
        in explained(tmp_path, text, MEASURED)["max_batch_size"].effect
    )


def test_a_preferred_size_that_caps_is_said_to(tmp_path: Path) -> None:
    """Triton never batches beyond the largest preferred size."""
    text = f'backend: "python" max_batch_size: 8 dynamic_batching {{ preferred_batch_size: [ 2, 4 ] }} {IO}'
    assert "No batch is larger than 4" in explained(tmp_path, text)["dynamic_batching.preferred_batch_size"].effect


def test_a_parameter_is_written_as_config_set_takes_it(tmp_path: Path) -> None:
    """With its key in brackets, its value as a string, and what the backend does with it."""
    text = f'backend: "openvino" {IO} parameters {{ key: "NUM_STREAMS" value {{ string_value: "2" }} }}'
    row = explained(tmp_path, text)["parameters[NUM_STREAMS]"]
    assert row.value == '"2"'
    assert "side by side" in row.effect


def test_what_only_loading_tells_is_said(tmp_path: Path) -> None:
    """A Python model may complete its own config."""
    config = config_of(tmp_path, 'backend: "python" max_batch_size: 8')
    assert any("auto_complete_config" in hint for hint in effective(config, has_gpu=False).hints)
