"""Calibration data that is no use is refused in words, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelyard_build.model import Arrays
from modelyard_build.precision import calibration, effort
from modelyard_build.precision.errors import CalibrationRefused
from support.precision_models import BLOCK, CONVNET, images, source, tokens

Spoil = Callable[[Arrays], Arrays]


def nan(arrays: Arrays) -> Arrays:
    arrays["image"][3, 0, 0, 0] = np.nan
    return arrays


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda arrays: {}, "has no array at all; the inputs are image"),
        (lambda arrays: {"picture": arrays["image"]}, "has picture; the inputs are image"),
        (lambda arrays: {"image": arrays["image"].astype(np.float64)}, "is float64; the input is float32"),
        (lambda arrays: {"image": arrays["image"][:, :1]}, r"has shape \[512, 1, 16, 16\]; asked for was \[512, 3,"),
        (lambda arrays: {"image": arrays["image"][:10]}, r"has shape \[10, 3, 16, 16\]; asked for was \[512,"),
        (lambda arrays: {"image": arrays["image"][:0]}, r"has shape \[0, 3, 16, 16\]; asked for was \[512,"),
        (nan, r"is nan at \[3, 0, 0, 0\]"),
        (lambda arrays: {"image": np.zeros_like(arrays["image"])}, "repeats one item 512 times"),
    ],
)
def test_useless_data_is_refused(spoil: Spoil, said: str) -> None:
    """No array, a wrong name, dtype or shape, too few items, none, NaN, one item over and over: each in words."""
    model = replace(CONVNET, calibration=lambda files, batch, sizes: spoil(images(2)(files, batch, sizes)))
    with pytest.raises(CalibrationRefused, match=said):
        calibration.gather(source(model, Path("unused")))


def test_missing_data_is_refused() -> None:
    """A model that declares none is told so, and what to declare."""
    with pytest.raises(CalibrationRefused, match=r"no calibration data declared.*`calibration=`"):
        calibration.gather(source(replace(BLOCK, calibration=None), Path("unused")))


def test_sizes_span_the_axis_and_both_sets_differ() -> None:
    """Both ends, the optimum and one between; what judges gave no range."""
    data = calibration.gather(source(BLOCK, Path("unused")))
    assert [dict(size) for size in data.sizes] == [{"sequence": size} for size in (2, 5, 12, 24)]
    assert sum(len(batch["input_ids"]) for batch in data.seen) == data.items == 256
    longest = [
        {row.tobytes() for batch in batches for row in batch["input_ids"] if len(row) > 4}
        for batches in (data.seen, data.held_out)
    ]
    assert longest[0].isdisjoint(longest[1])


def test_ranges_without_calibration_come_from_examples() -> None:
    """16-bit types need no calibration data: the examples show which values are too large."""
    data = calibration.real_inputs(source(replace(BLOCK, calibration=None), Path("unused")))
    assert data.origin == "examples"
    assert calibration.real_inputs(source(BLOCK, Path("unused"))).origin == "calibration"
    expected = tokens(1)({}, 16, {"sequence": 2})["input_ids"]
    np.testing.assert_array_equal(data.seen[0]["input_ids"], expected)


def test_a_large_model_is_run_on_fewer_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the operations that all items take allow half the items, never fewer than the least."""
    one = source(BLOCK, Path("unused"))
    steps = calibration.sizes_of(BLOCK)
    operations = sum(effort._operations(one, size) for size in steps)
    assert operations > 0
    monkeypatch.setattr(effort, "BUDGET", 32 * operations)
    assert effort.items_of_each(one, steps, 64) == 32
    assert calibration.gather(one).items == 32 * len(steps)
    monkeypatch.setattr(effort, "BUDGET", operations)
    assert effort.items_of_each(one, steps, 64) == effort.LEAST


def test_an_impression_has_every_size() -> None:
    """What only some batches are run for is run at the longest size, too."""
    data = calibration.gather(source(BLOCK, Path("unused")))
    assert [batch["input_ids"].shape[1] for batch in data.held_out[:: calibration.FEW]] == [2, 5, 12, 24]


def test_batches_are_small_however_many_items_there_are() -> None:
    """256 images of one size come 16 at a time: what looks at every value of a graph holds all of a batch's."""
    data = calibration.gather(source(CONVNET, Path("unused")))
    assert [len(batch["image"]) for batch in data.seen] == [16] * 16
    assert [len(batch["image"]) for batch in data.held_out] == [16] * 16
