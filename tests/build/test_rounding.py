"""A step's floats against PyTorch's own rounding, and rows of differing sizes joined."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard_build.errors import VerificationFailed
from modelyard_build.rounding import hold, joined_rows

EXACT = np.random.default_rng(1).normal(size=(6, 8))
OWN = EXACT.astype(np.float32)
ULP = float(np.finfo(np.float32).eps) * float(np.abs(EXACT).max())


def test_rounding_is_no_difference() -> None:
    """Answers as far from float64 as PyTorch's own are proven, with what was measured."""
    evidence = hold("scores", OWN, EXACT, np.nextafter(OWN, np.float32(9)))
    assert 0 < evidence["max_error"] <= evidence["bound"] == 4 * evidence["noise_floor"]
    assert evidence["held_against_float32"] == 0


def test_more_than_rounding_is_refused_with_the_item() -> None:
    """The message has the output, the error, the item and what is allowed."""
    answer = OWN.copy()
    answer[4, 3] += 100 * ULP
    with pytest.raises(VerificationFailed, match=r"scores differs from PyTorch by .* for item 4, .*max_batch_size 1"):
        hold("scores", OWN, EXACT, answer)


def test_an_item_that_float64_decides_otherwise_is_held_against_float32() -> None:
    """A loop that ends a step earlier in float64 says nothing of rounding, and must not widen the bound of the rest."""
    other = EXACT.copy()
    other[2] = 7.0
    evidence = hold("scores", OWN, other, OWN)
    assert evidence["held_against_float32"] == 1
    assert evidence["bound"] < 10 * ULP
    wrong = OWN.copy()
    wrong[2] = 7.0
    with pytest.raises(VerificationFailed, match="item 2"):
        hold("scores", OWN, other, wrong)


def test_infinities_must_stand_where_pytorchs_stand() -> None:
    """What is not finite in PyTorch is nothing to refuse; a NaN of the server alone is."""
    own, exact = OWN.copy(), EXACT.copy()
    own[1, 1] = exact[1, 1] = np.inf
    assert hold("scores", own, exact, own)["max_error"] < 4 * ULP
    answer = OWN.copy()
    answer[3, 0] = np.nan
    with pytest.raises(VerificationFailed, match="scores of item 3 is finite where PyTorch's is not, or not finite"):
        hold("scores", OWN, EXACT, answer)


@pytest.mark.parametrize("answer", [OWN.astype(np.float16), OWN[..., None]])
def test_another_dtype_or_rank_is_refused(answer: np.ndarray) -> None:  # type: ignore[type-arg]
    """The message has both."""
    with pytest.raises(VerificationFailed, match=r"PyTorch's is float32 \[6, 8\]"):
        hold("scores", OWN, EXACT, answer)


def test_rows_are_padded_to_the_longest() -> None:
    """In every dimension but the first, with zeros at the end; so are words."""
    joined = joined_rows([np.ones((1, 2, 3)), np.ones((2, 4, 1))])
    assert joined.shape == (3, 4, 3)
    assert joined.sum() == 6 + 8
    assert joined_rows([np.array([[b"a"]], object), np.array([[b"b"]], object)]).tolist() == [[b"a"], [b"b"]]
