"""What the task of making images does without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.tasks import GeneratedImage
from modelyard_client.tasks.image_generator import INPUTS, OUTPUTS, check_tensors, checked_request


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"seed": -1}, r"seed is -1; it is a whole number from 0 to 9223372036854775807"),
        ({"seed": 2**63}, r"seed is 9223372036854775808"),
        ({"seed": 1.0}, r"seed is a float; it is a whole number"),
        ({"seed": True}, r"seed is a bool"),
        ({"count": 0}, r"count is 0; it is a whole number from 1"),
        ({"first_index": -1}, r"first_index is -1"),
        ({"first_index": 2**63 - 3, "count": 3}, r"first_index is 9223372036854775805; .* to 9223372036854775804"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_sent(asked: dict[str, Any], sentence: str) -> None:
    """The number is named, and what it may be."""
    with pytest.raises(InvalidInput, match=sentence):
        checked_request(**{"seed": 1, "count": 1, "first_index": 0, **asked})


def test_a_request_holds_three_numbers() -> None:
    """Each int64 [1]; numpy's integers go in too."""
    found = checked_request(seed=int(np.int64(7)), count=2**63 - 1, first_index=0)
    assert {array.dtype for array in found.values()} == {np.dtype(np.int64)}
    assert {name: array.tolist() for name, array in found.items()} == {
        "seed": [7],
        "count": [2**63 - 1],
        "first_index": [0],
    }


def test_an_image_is_saved_under_its_seed_and_index(tmp_path: Path) -> None:
    """In a folder by itself, or where the caller says."""
    image = GeneratedImage(seed=7, index=12, png=b"\x89PNG")
    assert image.save(tmp_path) == tmp_path / "7-12.png"
    assert image.save(tmp_path / "face.png").read_bytes() == (tmp_path / "7-12.png").read_bytes() == b"\x89PNG"


def test_another_kind_of_model_is_named() -> None:
    """With what it lacks and what the task needs."""

    def specs(names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name, "INT64", (1,)) for name in names)

    check_tensors(ModelMetadata("generator", ("1",), "python", specs(INPUTS), specs(OUTPUTS)))
    with pytest.raises(IncompatibleModel, match=r"'other' has no input first_index, no output image, no output index"):
        check_tensors(ModelMetadata("other", ("1",), "python", specs(INPUTS[:2]), specs(("seed",))))
