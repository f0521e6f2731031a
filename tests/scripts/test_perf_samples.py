from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard_ops.errors import OpsError
from modelyard_ops.perf.samples import batchable, check_names, document, golden_samples, load_samples


def sample(length: int) -> dict[str, Any]:
    """A sample of one input with a tensor of that many zeros."""
    return {"ids": {"content": [0] * length, "shape": [length]}}


def test_golden_samples_are_read_without_their_validation_data(tmp_path: Path) -> None:
    """perf_analyzer would compare validation_data byte for byte and stop at a float's last bit."""
    path = tmp_path / "texter" / "golden" / "samples.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"data": [sample(2)], "validation_data": [{"out": [1.0]}]}))
    samples = golden_samples(tmp_path, "texter")
    assert json.loads(document(samples)) == {"data": [sample(2)]}


def test_a_model_without_golden_samples_is_told_how_to_give_inputs(tmp_path: Path) -> None:
    """Random data is never sent in their place."""
    with pytest.raises(OpsError, match=r"no golden samples at .*texter/golden/samples.json.*--input-data FILE"):
        golden_samples(tmp_path, "texter")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"data": []}', "holds no samples"),
        ('[{"text": ["a"]}]', "holds no samples"),
        ('{"data": [["a"]]}', "holds a sample that is not an object of inputs"),
        ('{"data": [{}]}', "holds a sample that is not an object of inputs"),
    ],
)
def test_input_data_of_another_form_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    """The file is named, and what was expected."""
    path = tmp_path / "inputs.json"
    path.write_text(text)
    with pytest.raises(OpsError, match=f"inputs.json.*{message}|inputs.json {message}"):
        load_samples(path)


def test_a_missing_input_file_is_refused(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(OpsError, match=r"absent\.json cannot be read"):
        load_samples(tmp_path / "absent.json")


def test_names_of_inputs_are_held_against_the_model() -> None:
    """The sentence says which sample, what it has and what the model takes."""
    check_names([sample(1)], ["ids"])
    with pytest.raises(OpsError, match=r"sample 1 .* has the inputs \['ids'\]; the model takes \['ids', 'mask'\]"):
        check_names([{"ids": [1], "mask": [1]}, sample(1)], ["mask", "ids"])


def test_single_requests_keep_every_sample_in_its_order() -> None:
    """Only batches need equal shapes."""
    samples = [sample(3), sample(2), sample(3)]
    assert batchable(samples, 1) == samples


def test_batches_keep_the_most_frequent_shape() -> None:
    """perf_analyzer refuses two shapes anywhere in its data once it batches."""
    assert batchable([sample(2), sample(3), sample(3)], 4) == [sample(3), sample(3)]


def test_tensors_written_as_plain_lists_have_a_shape_too() -> None:
    """perf_analyzer's short form: the list alone."""
    assert batchable([{"ids": [1, 2]}, {"ids": [1, 2]}, {"ids": [1]}], 2) == [{"ids": [1, 2]}, {"ids": [1, 2]}]
