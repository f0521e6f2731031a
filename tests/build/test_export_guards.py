"""Conditions on sizes: put into the declaration's words, and held against every declared size."""

from __future__ import annotations

import logging

import pytest

from modelyard_build.export_guards import Guard, Guards, Place, readable, watched
from support.small_models import POOLER

SYMBOLS = {"s72": "batch", "s70": "sequence", "s53": "sequence"}
SIZES = {"batch": range(1, 17), "sequence": range(2, 25)}
HERE = Place("forward.py", 1, "return x")


@pytest.mark.parametrize(
    ("torchs", "ours"),
    [
        ("Eq(5*s72, 15)", "5 * batch == 15"),
        ("Ne(s70, 7)", "sequence != 7"),
        ("Eq(Mod(s70, 3), 1)", "sequence % 3 == 1"),
        ("Eq(s72*s70, 2*s72*((s70//2)))", "batch * sequence == 2 * batch * (sequence // 2)"),
        ("(s70 > 3) & (s70 < 9)", "(sequence > 3) & (sequence < 9)"),
        ("Max(2, s70) <= u0", "Max(2, sequence) <= u0"),
        ("s70 is what?", "s70 is what?"),
    ],
)
def test_a_condition_is_put_into_the_declarations_words(torchs: str, ours: str) -> None:
    """Symbols become axes, torch's functions Python's operators; what cannot be parsed stays as it is."""
    assert readable(torchs, SYMBOLS) == ours


@pytest.mark.parametrize(
    ("condition", "at"),
    [
        ("5 * batch == 15", {"batch": 2}),
        ("sequence <= 10", {"sequence": 11}),
        ("sequence != 7", {"sequence": 7}),
        ("batch * sequence == 2 * batch * (sequence // 2)", {"batch": 2, "sequence": 3}),
        ("(sequence > 3) & (sequence < 9)", {"sequence": 2}),
        ("sequence == batch", {"batch": 2, "sequence": 3}),
        ("Max(2, sequence) <= 24", {}),
        ("batch * sequence <= 384", {}),
        ("batch != 1", {}),
        ("u0 <= 3", {}),
        ("Mystery(batch) == 1", {}),
        ("s70 is what?", {}),
    ],
)
def test_a_declared_size_that_breaks_a_condition_is_found(condition: str, at: dict[str, int]) -> None:
    """The smallest one is named; conditions over anything but declared axes, and a size of 1, are passed over."""
    assert Guard(condition, HERE).fails_at(SIZES) == at


def test_long_axes_are_tried_at_both_ends() -> None:
    """Two axes of 100,000 sizes each are too many to try together, so both ends of each are."""
    sizes = {"height": range(1, 100_001), "width": range(1, 100_001)}
    assert Guard("height + width <= 200_000", HERE).fails_at(sizes) == {}
    assert Guard("height + width <= 199_999", HERE).fails_at(sizes) == {"height": 100_000, "width": 100_000}
    assert Guard("height >= 3", HERE).fails_at(sizes) == {"height": 2}


def test_torchs_log_is_left_as_it_was() -> None:
    """Listening ends with the trace, also when that fails: levels and handlers are those of before."""
    names = ("torch", "torch.onnx", "torch.fx.experimental.symbolic_shapes")
    before = [(log.level, log.handlers, log.propagate) for log in map(logging.getLogger, names)]
    with pytest.raises(KeyError), watched(Guards(POOLER)):
        raise KeyError
    assert [(log.level, log.handlers, log.propagate) for log in map(logging.getLogger, names)] == before
