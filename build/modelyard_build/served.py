"""A staged system held against PyTorch through a running Triton: the tokens, the answers, the task's own figure.

Starting a server is not this package's work: the command hands in something that serves a repository.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from modelyard_build import rounding
from modelyard_build.errors import VerificationFailed
from modelyard_build.model import AnyModel, Array, Arrays, Evaluation, PythonModel, Tensor
from modelyard_build.quality import Quality
from modelyard_build.similarity import agreement, min_cosine


class Served(Protocol):
    """A Triton that serves a repository."""

    def infer(self, model: str, inputs: Arrays, protocol: str) -> Arrays:
        """Answers to any number of items, in their order.

        Each item of a decoupled model is a request of its own; its responses stand along a second dimension. The items
        of a model that keeps state are the requests of one sequence.

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
# An item that tips over by rounding says nothing; so many of them are no loss of a task's figure.
CHANCE_ITEMS = 4
# Items of a step that fills rows up, asked for one by one.
ALONE = 8


def verify_python_model(model: PythonModel, served: Served, files: Mapping[str, Path], items: int) -> dict[str, Any]:
    """Holds a Python step's answers against its reference, on real inputs.

    They are equal in every element, but for the floats of a step that computes: those are held to the class *exact*.
    A step may pad to the longest row of the batches that Triton formed, where the reference has other company; what is
    compared is each row up to the size that both have, and beyond it there may only be padding.

    Raises:
        VerificationFailed: naming the output and the first item that differs.
    """
    if model.decoupled or any(tensor.padding for tensor in model.outputs):
        _check_alone(model, served, files)
    sets = [model.examples(files, min(items, model.verified_items)), *(model.corners(files) if model.corners else [])]
    proofs = [_verify_step(model, served, files, inputs) for inputs in sets]
    return {
        "items": sum(len(next(iter(inputs.values()))) for inputs in sets),
        "equal": [tensor.name for tensor in model.outputs if not proofs[0][tensor.name]],
        **{
            # What came closest to its bound.
            tensor.name: max((proof[tensor.name] for proof in proofs), key=lambda found: found["max_error_in_floors"])
            for tensor in model.outputs
            if proofs[0][tensor.name]
        },
    }


def _verify_step(
    model: PythonModel, served: Served, files: Mapping[str, Path], inputs: Arrays
) -> dict[str, dict[str, float]]:
    """For each output what was measured; nothing where it is equal in every element."""
    reference = model.reference(files, inputs)
    exact = model.exact(files, inputs) if model.exact else {}
    answers = served.infer(model.name, inputs, "grpc")
    found: dict[str, dict[str, float]] = {}
    for tensor in model.outputs:
        expected, answer = reference[tensor.name], answers[tensor.name]
        if tensor.name in exact and expected.dtype.kind == "f":
            what = f"{model.name}: output {tensor.name!r}"
            found[tensor.name] = rounding.hold(what, expected, exact[tensor.name], answer)
        else:
            _check_equal(model, tensor, expected, answer)
            found[tensor.name] = {}
    return found


def _check_equal(model: PythonModel, tensor: Tensor, expected: Array, answer: Array) -> None:
    items = len(expected)
    differing = [row for row in range(items) if not _equal_up_to_padding(tensor, expected[row], answer[row])]
    if differing:
        first = differing[0]
        raise VerificationFailed(
            f"{model.name}: output {tensor.name!r} differs from its reference for {len(differing)} of {items} real "
            f"inputs, first for item {first}: {answer[first][:8]} against {expected[first][:8]}."
        )


def _check_alone(model: PythonModel, served: Served, files: Mapping[str, Path]) -> None:
    """A single item is joined with nothing: its padding, and the number of its responses, must be the reference's."""
    count = min(ALONE, model.verified_items)
    examples = model.examples(files, count)
    for number in range(count):
        inputs = {name: array[number : number + 1] for name, array in examples.items()}
        reference, answers = model.reference(files, inputs), served.infer(model.name, inputs, "grpc")
        for tensor in model.outputs:
            expected, answer = reference[tensor.name][0], answers[tensor.name][0]
            if model.decoupled and len(expected) != len(answer):
                raise VerificationFailed(
                    f"{model.name}: item {number} is answered by {len(answer)} responses; its reference has "
                    f"{len(expected)}."
                )
            if tensor.padding and not np.array_equal(expected, answer):
                raise VerificationFailed(
                    f"{model.name}: output {tensor.name!r} differs from its reference for item {number} alone: it ends "
                    f"in {answer[-8:]}, expected {expected[-8:]} (rows are filled up with {tensor.padding})."
                )


def _equal_up_to_padding(tensor: Tensor, expected: Array, answer: Array) -> bool:
    common = tuple(slice(min(sizes)) for sizes in zip(expected.shape, answer.shape, strict=True))
    # Answers of several batches were joined with zeros, whatever the step itself fills them up with.
    nothing = b"" if expected.dtype == np.object_ else 0
    joined = (expected[common] == tensor.padding) & (answer[common] == nothing)
    rest = [array.copy() for array in (expected, answer)]
    for array in rest:
        array[common] = nothing
    return bool(((expected[common] == answer[common]) | joined).all()) and all(
        ((array == tensor.padding) | (array == nothing)).all() for array in rest
    )


def verify_system(
    model: AnyModel,
    served_as: str,
    served: Served,
    inputs: Arrays,
    reference: Arrays,
    quality: Quality,
    protocols: Sequence[str] = PROTOCOLS,
) -> dict[str, Any]:
    """Holds the served answers to real items against PyTorch's.

    Args:
        model: the declaration.
        served_as: the name that it has on the server.
        served: the server.
        inputs: the items.
        reference: PyTorch's answers to them.
        quality: how far the answers may be away.
        protocols: over which they are asked for.

    Raises:
        VerificationFailed: naming protocol, output and item.
    """
    evidence: dict[str, Any] = {"items": len(next(iter(inputs.values())))}
    for protocol in protocols:
        answers = served.infer(served_as, inputs, protocol)
        evidence[protocol] = {
            tensor.name: _compare(
                f"{served_as} over {protocol}: output {tensor.name!r}",
                quality,
                tensor,
                reference[tensor.name],
                answers[tensor.name],
            )
            for tensor in model.outputs
        }
    return evidence


def _compare(what: str, quality: Quality, tensor: Tensor, expected: Array, answer: Array) -> dict[str, float]:
    if answer.shape != expected.shape or answer.dtype != expected.dtype:
        raise VerificationFailed(
            f"{what} is {answer.dtype} {list(answer.shape)}, PyTorch's is {expected.dtype} {list(expected.shape)}."
        )
    if expected.dtype.kind != "f":
        if not np.array_equal(expected, answer):
            item = int(np.argwhere(expected != answer)[0][0])
            raise VerificationFailed(f"{what} of item {item} is {answer[item]}, PyTorch's is {expected[item]}.")
        return {"equal": 1.0}
    least = quality.min_class_cosine if tensor.labels else quality.min_cosine
    cosine, agreed = min_cosine(expected, answer), agreement([expected], [answer], least)
    if not np.isfinite(answer).all() or cosine < least:
        raise VerificationFailed(
            f"{what} has a row whose cosine to PyTorch's is {cosine:.7f}; the class {quality.name} allows {least}."
        )
    if tensor.labels and agreed < quality.min_agreement:
        raise VerificationFailed(
            f"{what} has the largest element where PyTorch's has it for {agreed:.2%} of the items; the class "
            f"{quality.name} asks for {quality.min_agreement:.0%}."
        )
    return {"min_cosine": cosine, "agreement": agreed, "max_error": float(np.abs(expected - answer).max(initial=0.0))}


def evaluate(
    served_as: str, evaluation: Evaluation, reference: Arrays, answers: Arrays, truth: Array, quality: Quality
) -> dict[str, Any]:
    """The task's figures of PyTorch and of the served model, and the verdict on what was lost.

    Returns:
        The figures (0 to 1) of both, by name, and the details of the served answers.

    Raises:
        VerificationFailed: a figure is worse than PyTorch's by more than the class allows.
    """
    figures = {
        "pytorch": dict(evaluation.figures(reference, truth)),
        "served": dict(evaluation.figures(answers, truth)),
    }
    allowed = max(quality.max_metric_loss, 100 * CHANCE_ITEMS / len(truth))
    for name, value in figures["pytorch"].items():
        gained = figures["served"][name] - value
        lost = round(100 * (gained if name in evaluation.losses else -gained), 9)
        if lost > allowed:
            raise VerificationFailed(
                f"{served_as}: {name} is {figures['served'][name]:.4f} as served and {value:.4f} in PyTorch: "
                f"{lost:.2f} points are lost; of {len(truth)} items the class {quality.name} allows {allowed:.2f}."
            )
    details = dict(evaluation.details(answers, truth)) if evaluation.details else {}
    return {
        **figures,
        "losses": sorted(evaluation.losses),
        "items": len(truth),
        "items_are": evaluation.items,
        "data_sha256": evaluation.data_sha256,
        "details": details,
    }
