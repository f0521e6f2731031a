"""The search among embedded passages, without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard_client.errors import InvalidInput
from modelyard_client.tasks.passage_embedder import nearest


def vectors(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows of unit length."""
    drawn = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    unit: npt.NDArray[np.float32] = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return unit


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 9))
def test_hits_are_those_of_a_full_sort(passages: int, k: int, seed: int) -> None:
    """Whatever the numbers: the k largest cosines, the largest first, each passage once."""
    index, queries = vectors(passages, 5, seed=seed), vectors(3, 5, seed=seed + 100)
    for query, hits in zip(queries, nearest(queries, index, k), strict=True):
        expected = np.argsort(-(index @ query), kind="stable")[:k]
        assert [hit.position for hit in hits] == expected.tolist()
        assert [hit.score for hit in hits] == (index @ query)[expected].tolist()


def test_a_passage_finds_itself_and_equals_keep_their_order() -> None:
    """Its own vector has a cosine of 1; of two equal passages the earlier comes first."""
    index = vectors(4, 8)
    index[3] = index[1]
    (hits,) = nearest(index[1:2], index, 2)
    assert [hit.position for hit in hits] == [1, 3]
    assert hits[0].score == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("passages", "k", "sentence"),
    [
        (vectors(3, 4), 0, "k is 0"),
        (vectors(3, 5), 1, r"shape \[3, 5\], expected \[number of passages, 4\].*Embed the passages again"),
        (vectors(4), 1, r"shape \[4\]"),
        (np.empty((0, 4), np.float32), 1, "passages is empty"),
    ],
)
def test_what_cannot_be_searched_is_told(passages: Any, k: int, sentence: str) -> None:
    """Vectors of another model, none at all, or a k that is no number of hits."""
    with pytest.raises(InvalidInput, match=sentence):
        nearest(vectors(1, 4), passages, k)
