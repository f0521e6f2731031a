"""The figures of a task, held against what they are by definition."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from modelyard_build.errors import VerificationFailed
from modelyard_build.evaluations import by_class, classification, retrieval
from modelyard_build.model import Arrays, Evaluation
from modelyard_build.quality import EXACT
from modelyard_build.served import evaluate

SCORES = {"scores": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]], np.float32)}
TRUTH = np.array([0, 1, 1, 1])


def test_a_classifiers_figures() -> None:
    """Three of four are right; F1 is 2/3 of the one class and 4/5 of the other."""
    assert classification("scores")(SCORES, TRUTH) == pytest.approx({"accuracy": 0.75, "macro-F1": (2 / 3 + 4 / 5) / 2})


def test_each_class_has_its_own_figures() -> None:
    """Of the second class everything that is found is right, and one item is missed."""
    found = by_class("scores", ("a", "b"))(SCORES, TRUTH)
    assert found["b"] == {"precision": 1.0, "recall": 0.6667, "F1": 0.8, "items": 3.0}
    assert found["a"]["precision"] == 0.5


def unit(*degrees: float) -> Arrays:
    angles = np.radians(degrees)
    return {"embedding": np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)}


def test_a_perfect_order_has_full_figures() -> None:
    """Items of one label lie together: every neighbour that there can be is found first."""
    figures = retrieval("embedding", 2)(unit(0, 1, 2, 90, 91, 92), np.array([0, 0, 0, 1, 1, 1]))
    assert figures == pytest.approx({"recall@2": 1.0, "nDCG@2": 1.0})


def test_the_rank_of_a_hit_counts() -> None:
    """A hit at the second place is a recall of 1 and an nDCG of 1 / log2(3); an item never finds itself."""
    figures = retrieval("embedding", 2)(unit(0, 10, 25), np.array([0, 1, 0]))
    # From 0 the order is 10, 25; from 25 it is 10, 0; the item in the middle has none of its label.
    assert figures["recall@2"] == pytest.approx(2 / 3)
    assert figures["nDCG@2"] == pytest.approx(1 / np.log2(3))


def test_a_figure_that_is_lost_is_refused_with_both() -> None:
    """The name, what is served, what PyTorch has, and what the class allows."""
    evaluation = Evaluation(lambda files: ({}, TRUTH), classification("scores"), "none")
    right = {"scores": np.tile(SCORES["scores"], (500, 1))}
    worse = {"scores": right["scores"][:, ::-1]}
    with pytest.raises(VerificationFailed, match=r"small: accuracy is 0\.2500 as served and 0\.7500 in PyTorch: 50"):
        evaluate("small", evaluation, right, worse, np.tile(TRUTH, 500), EXACT)


def test_items_that_tip_over_are_no_loss() -> None:
    """Four of 400 may, whatever share of so few items that is; a fifth is a loss."""
    evaluation = Evaluation(lambda files: ({}, TRUTH), lambda out, truth: {"hits": float(out["hit"].mean())}, "none")
    truth, whole = np.zeros(400, np.int64), np.ones(400)
    for lost, refused in ((4, False), (5, True)):
        served = {"hit": np.r_[np.zeros(lost), np.ones(400 - lost)]}
        with pytest.raises(VerificationFailed, match="400 items") if refused else contextlib.nullcontext():
            evaluate("small", evaluation, {"hit": whole}, served, truth, EXACT)
