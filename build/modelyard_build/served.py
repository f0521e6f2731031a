"""A staged system held against PyTorch through a running Triton: the tokens, the answers, the task's own figure.

Starting a server is not this package's work: the command hands in something that serves a repository.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from modelyard_build.errors import VerificationFailed
from modelyard_build.model import Array, Arrays, Ensemble, Evaluation, PythonModel, Tolerance
from modelyard_build.similarity import min_cosine


class Served(Protocol):
    """A Triton that serves a repository."""

    def infer(self, model: str, inputs: Arrays, protocol: str) -> Arrays:
        """Answers to any number of items, in their order.

        Args:
            model: the model's name.
            inputs: the items along the first dimension of every tensor.
            protocol: "grpc" or "http".

        Returns:
            Every output with all items along its first dimension; rows of differing width are padded with zeros.
        """
        ...


Serve: TypeAlias = Callable[[Path], AbstractContextManager[Served]]
PROTOCOLS = ("grpc", "http")


def verify_python_model(model: PythonModel, served: Served, files: Mapping[str, Path], items: int) -> dict[str, Any]:
    """Holds a Python step's answers against its reference: equal in every element, on real inputs.

    The step pads to the longest row of the batches that Triton formed, the reference to the longest of all; what is
    compared is each row up to the width that both have, and beyond it there may only be padding.

    Raises:
        VerificationFailed: naming the output and the first item that differs.
    """
    inputs = model.examples(files, items)
    reference = model.reference(files, inputs)
    answers = served.infer(model.name, inputs, "grpc")
    for tensor in model.outputs:
        expected, answer = reference[tensor.name], answers[tensor.name]
        differing = [row for row in range(items) if not _equal_up_to_padding(expected[row], answer[row])]
        if differing:
            first = differing[0]
            raise VerificationFailed(
                f"{model.name}: output {tensor.name!r} differs from its reference for {len(differing)} of {items} real "
                f"inputs, first for item {first}: {answer[first][:8]} against {expected[first][:8]}."
            )
    return {"items": items, "equal": [tensor.name for tensor in model.outputs]}


def _equal_up_to_padding(expected: Array, answer: Array) -> bool:
    width = min(expected.shape[0], answer.shape[0])
    return (
        bool(np.array_equal(expected[:width], answer[:width]))
        and not expected[width:].any()
        and not answer[width:].any()
    )


def verify_ensemble(ensemble: Ensemble, served: Served, inputs: Arrays, reference: Arrays) -> dict[str, Any]:
    """Holds the served answers to real items against PyTorch's, over gRPC and over HTTP.

    Raises:
        VerificationFailed: naming protocol, output and item.
    """
    evidence: dict[str, Any] = {"items": len(next(iter(inputs.values())))}
    for protocol in PROTOCOLS:
        answers = served.infer(ensemble.name, inputs, protocol)
        evidence[protocol] = {
            tensor.name: _compare(
                f"{ensemble.name} over {protocol}: output {tensor.name!r}",
                ensemble.tolerance,
                reference[tensor.name],
                answers[tensor.name],
            )
            for tensor in ensemble.outputs
        }
    return evidence


def _compare(what: str, tolerance: Tolerance, expected: Array, answer: Array) -> dict[str, float]:
    if answer.shape != expected.shape or answer.dtype != expected.dtype:
        raise VerificationFailed(
            f"{what} is {answer.dtype} {list(answer.shape)}, PyTorch's is {expected.dtype} {list(expected.shape)}."
        )
    if expected.dtype.kind != "f":
        if not np.array_equal(expected, answer):
            item = int(np.argwhere(expected != answer)[0][0])
            raise VerificationFailed(f"{what} of item {item} is {answer[item]}, PyTorch's is {expected[item]}.")
        return {"equal": 1.0}
    cosine = min_cosine(expected, answer)
    if not np.isfinite(answer).all() or cosine < tolerance.min_cosine:
        raise VerificationFailed(
            f"{what} has a row whose cosine to PyTorch's is {cosine:.7f}; allowed is {tolerance.min_cosine}."
        )
    return {"min_cosine": cosine, "max_error": float(np.abs(expected - answer).max(initial=0.0))}


def evaluate(
    ensemble: Ensemble, evaluation: Evaluation, reference: Arrays, answers: Arrays, truth: Array
) -> dict[str, Any]:
    """The task's figures of PyTorch and of the served model, and the verdict on their difference.

    Returns:
        accuracy and macro-averaged F1 (0 to 1) of both, and precision, recall and F1 of each class as served.

    Raises:
        VerificationFailed: a figure differs by more than the evaluation allows.
    """
    expected, served = evaluation.predict(reference), evaluation.predict(answers)
    figures = {"pytorch": _figures(truth, expected), "served": _figures(truth, served)}
    for name, value in figures["pytorch"].items():
        points = 100 * abs(value - figures["served"][name])
        if points > evaluation.max_difference:
            raise VerificationFailed(
                f"{ensemble.name}: {name} is {figures['served'][name]:.4f} as served and {value:.4f} in PyTorch; they "
                f"differ by {points:.2f} points, allowed are {evaluation.max_difference}."
            )
    return {
        **figures,
        "items": len(truth),
        "data_sha256": evaluation.data_sha256,
        "classes": _per_class(truth, served, evaluation.labels),
        "differing_predictions": int((expected != served).sum()),
    }


def _figures(truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": float(f1_score(truth, predicted, average="macro")),
    }


def _per_class(
    truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], labels: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(truth, predicted, labels=range(len(labels)), zero_division=0.0)
    names = ("precision", "recall", "f1", "items")
    return {
        label: {name: round(float(column[index]), 4) for name, column in zip(names, columns, strict=True)}
        for index, label in enumerate(labels)
    }
