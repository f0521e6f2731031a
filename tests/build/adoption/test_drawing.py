"""Drawn inputs: of any batch and size, the same ones each time, like the example."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard_build.adoption.drawing import draw
from modelyard_build.adoption.origin import Draw
from modelyard_build.adoption.writing import MOST_BYTES, listed, npz, small
from modelyard_build.errors import AdoptionFailed

EXAMPLE = {"x": np.arange(12, dtype=np.float32).reshape(2, 6)}


def test_the_example_comes_first_cut_or_repeated() -> None:
    """Its items are the first ones, at any size."""
    assert draw(EXAMPLE, {"x": (4,)}, {}, 2)["x"].tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert draw(EXAMPLE, {"x": (8,)}, {}, 1)["x"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1]]


def test_further_items_differ_and_stay_within_the_example() -> None:
    """Each is its own, the same in every batch, within the values that the example has."""
    many, fewer = (draw(EXAMPLE, {"x": (6,)}, {}, batch)["x"] for batch in (9, 5))
    assert len({row.tobytes() for row in many}) == 9
    np.testing.assert_array_equal(many[:5], fewer)
    assert many.min() >= 0
    assert many.max() <= 11


def test_an_example_of_one_value_is_varied_all_the_same() -> None:
    """Zeros, as people write them down, would show nothing."""
    drawn = draw({"x": np.zeros((1, 6), np.float32)}, {"x": (6,)}, {}, 3)["x"]
    assert len({row.tobytes() for row in drawn}) == 3


def test_whole_numbers_and_masks() -> None:
    """Whole numbers from their range, or from the example's own; a mask has padded ends and never none at all."""
    example = {"ids": np.full((1, 4), 7), "mask": np.ones((1, 4), np.int64), "kind": np.array([[3, 5, 3, 5]])}
    draws = {"ids": Draw(0, 10), "mask": Draw(ones=True)}
    found = draw(example, {"ids": (9,), "mask": (9,), "kind": (9,)}, draws, 20)
    assert set(found["ids"][1:].ravel()) == set(range(10))
    assert set(found["kind"].ravel()) == {3, 5}
    assert found["mask"][:, 0].all()
    assert 0 < (found["mask"] == 0).sum() < found["mask"].size
    assert (np.diff(found["mask"], axis=1) <= 0).all()


def test_one_number_for_each_item_is_a_row_of_one() -> None:
    """Triton knows no item without dimensions."""
    assert draw({"scale": np.array([2.0, 3.0])}, {"scale": (1,)}, {}, 2)["scale"].tolist() == [[2.0], [3.0]]


def test_large_examples_are_kept_small() -> None:
    """What is kept in the tree has fewer items, then corners of them; drawing gives the full size again."""
    image = {"image": np.random.default_rng(0).normal(size=(4, 3, 512, 512)).astype(np.float32)}
    kept = small(image)
    assert kept["image"].nbytes <= MOST_BYTES
    assert len(npz(kept)) < 1 << 19
    assert draw(kept, {"image": (3, 512, 512)}, {}, 2)["image"].shape == (2, 3, 512, 512)
    assert small(EXAMPLE)["x"] is EXAMPLE["x"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('SYSTEMS = (\n    "a",  # kept\n)\n', 'SYSTEMS = (\n    "a",  # kept\n    "b",\n)\n'),
        ('SYSTEMS = ("a",)\nX = (1,)\n', 'SYSTEMS = ("a",\n    "b",\n)\nX = (1,)\n'),
        ("SYSTEMS: tuple[str, ...] = ()\n", 'SYSTEMS: tuple[str, ...] = (\n    "b",\n)\n'),
        ('SYSTEMS = (\n    "b",\n)\n', 'SYSTEMS = (\n    "b",\n)\n'),
    ],
)
def test_a_line_in_the_list(before: str, after: str) -> None:
    """A name is added once, and everything else stays as people wrote it."""
    assert listed(before, "b") == after


def test_a_list_that_is_gone() -> None:
    """Without it there is nothing to add to."""
    with pytest.raises(AdoptionFailed, match="has no SYSTEMS"):
        listed("X = 1\n", "b")
