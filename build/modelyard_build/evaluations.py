"""The figures of a task: what an `Evaluation` computes from outputs and from what is known of the items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from modelyard_build.model import Array, Arrays

Figures: TypeAlias = Callable[[Arrays, Array], Mapping[str, float]]
Details: TypeAlias = Callable[[Arrays, Array], Mapping[str, Any]]


def classification(output: str) -> Figures:
    """Accuracy and macro-averaged F1 of the most probable class.

    Args:
        output: the name of the output [items, classes]; the truth is each item's class index, int64 [items].
    """

    def figures(outputs: Arrays, truth: Array) -> Mapping[str, float]:
        from sklearn.metrics import accuracy_score, f1_score

        predicted = outputs[output].argmax(-1)
        return {
            "accuracy": float(accuracy_score(truth, predicted)),
            "macro-F1": float(f1_score(truth, predicted, average="macro")),
        }

    return figures


def by_class(output: str, labels: Sequence[str]) -> Details:
    """Precision, recall, F1 (0 to 1) and the number of items of each class.

    Args:
        output: as in `classification`.
        labels: the classes by index.
    """

    def details(outputs: Arrays, truth: Array) -> Mapping[str, Any]:
        from sklearn.metrics import precision_recall_fscore_support

        predicted = outputs[output].argmax(-1)
        columns = precision_recall_fscore_support(truth, predicted, labels=range(len(labels)), zero_division=0.0)
        names = ("precision", "recall", "F1", "items")
        return {
            label: {name: round(float(column[index]), 4) for name, column in zip(names, columns, strict=True)}
            for index, label in enumerate(labels)
        }

    return details


def retrieval(output: str, k: int) -> Figures:
    """How well the nearest of the other items have an item's own label, with every item as a query.

    `recall@k` is the share of queries for which at least one of the k nearest has the label (the measure that metric
    learning calls recall at k: Jegou, Douze, Schmid, "Product quantization for nearest neighbor search", 2011).
    `nDCG@k` weighs each of the k by its rank (Jarvelin, Kekalainen, "Cumulated gain-based evaluation of IR techniques",
    2002), with binary gains, against the best order there could be.

    Args:
        output: the name of the output [items, width]: vectors of unit length.
        k: how many neighbours count.
    """

    def figures(outputs: Arrays, truth: Array) -> Mapping[str, float]:
        gains = _gains(outputs[output].astype(np.float64), truth, k)
        discounts = 1.0 / np.log2(np.arange(2, k + 2))
        relevant = np.minimum(np.array([(truth == label).sum() - 1 for label in truth]), k)
        ideal = np.array([discounts[:count].sum() for count in relevant])
        ndcg = (gains @ discounts)[ideal > 0] / ideal[ideal > 0]
        return {f"recall@{k}": float(gains.any(-1).mean()), f"nDCG@{k}": float(ndcg.mean())}

    return figures


def _gains(vectors: npt.NDArray[np.float64], truth: Array, k: int) -> npt.NDArray[np.float64]:
    """1 where the neighbour at a rank has the query's label, else 0: [items, k]."""
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    gains: npt.NDArray[np.float64] = (truth[nearest] == truth[:, None]).astype(np.float64)
    return gains
