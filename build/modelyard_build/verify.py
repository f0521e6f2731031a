"""An artefact held against the PyTorch module, on real inputs, at every corner of the declared sizes.

The bound is derived from the module itself. Its float32 answers differ from its float64 answers by rounding; that
difference, the largest over all cases, is the noise floor. A float32 artefact sums up in another order, so its error
against float64 is of the same size; `Tolerance.noise_factor` says how many times it. An output that is exact in both
gets a floor of one unit in the last place of its largest value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from modelyard_build.errors import VerificationFailed
from modelyard_build.export import axes_of
from modelyard_build.model import Array, Arrays, Model, Tolerance
from modelyard_build.similarity import min_cosine

Run: TypeAlias = Callable[[Arrays], Arrays]
BATCHES = (1, 2, 8)


@dataclass(frozen=True)
class Case:
    """One shape that was run.

    Attributes:
        batch: items.
        sizes: the size of each dynamic axis.
    """

    batch: int
    sizes: Mapping[str, int]

    def __str__(self) -> str:
        """The case in words, for messages."""
        return ", ".join([f"batch {self.batch}", *(f"{name} {size}" for name, size in self.sizes.items())])


@dataclass(frozen=True)
class OutputEvidence:
    """How one output of the artefact compares with PyTorch's over all cases.

    Attributes:
        noise_floor: the largest difference between PyTorch's own float32 and float64 answers.
        max_error: the largest difference between the artefact and PyTorch in float64.
        mean_error: the mean of it.
        bound: what `max_error` had to stay under.
        min_cosine: the least cosine similarity of a row with PyTorch's.
        worst: where `max_error` stands, and the two values.
        unbatched_error: the largest difference between an item run in a batch and run alone.
    """

    noise_floor: float
    max_error: float
    mean_error: float
    bound: float
    min_cosine: float
    worst: str
    unbatched_error: float


def cases(model: Model) -> list[Case]:
    """Every batch at the shortest and the longest of the dynamic axes."""
    axes = axes_of(model)
    sizes = [{axis.name: axis.min for axis in axes}, {axis.name: axis.max for axis in axes}]
    batches = sorted({batch for batch in (*BATCHES, model.max_batch_size) if batch <= model.max_batch_size})
    found = [Case(batch, size) for batch in batches for size in sizes]
    return found if axes else found[::2]


def verify(model: Model, module: nn.Module, run: Run, files: Mapping[str, Path]) -> dict[str, Any]:
    """Proves the artefact against the module.

    Args:
        model: the declaration, with its tolerance.
        module: float32, eval mode.
        run: runs the artefact on one batch.
        files: the fetched assets.

    Returns:
        The evidence, as it stands in the manifest.

    Raises:
        VerificationFailed: naming the output, the case and the worst element.
    """
    exact = copy.deepcopy(module).double()
    checked = cases(model)
    inputs = [model.examples(files, case.batch, case.sizes) for case in checked]
    reference = [run_module(model, exact, batch) for batch in inputs]
    noisy = [run_module(model, module, batch) for batch in inputs]
    answers = [run(batch) for batch in inputs]
    _check_repeatable(model, run, inputs[-1], answers[-1])
    widest = max(range(len(checked)), key=lambda index: (checked[index].batch <= max(BATCHES), checked[index].batch))
    alone = _one_by_one(run, inputs[widest])
    evidence = {
        tensor.name: _compare(
            f"{model.name}: output {tensor.name!r}",
            model.tolerance,
            checked,
            [batch[tensor.name] for batch in reference],
            [batch[tensor.name] for batch in noisy],
            [batch[tensor.name] for batch in answers],
            (answers[widest][tensor.name], alone[tensor.name]),
        )
        for tensor in model.outputs
    }
    return {
        "cases": [str(case) for case in checked],
        "noise_factor": model.tolerance.noise_factor,
        "outputs": {name: asdict(found) for name, found in evidence.items()},
    }


def run_module(model: Model, module: nn.Module, inputs: Arrays) -> Arrays:
    """The module's answers; floating-point inputs are cast to the module's own precision."""
    dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    with torch.inference_mode():
        outputs = module(**tensors)
    sequence = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return {tensor.name: value.numpy() for tensor, value in zip(model.outputs, sequence, strict=True)}


def _check_repeatable(model: Model, run: Run, inputs: Arrays, first: Arrays) -> None:
    again = run(inputs)
    for name, array in first.items():
        if not np.array_equal(array, again[name], equal_nan=array.dtype.kind == "f"):
            raise VerificationFailed(
                f"{model.name}: output {name!r} differs between two runs on the same input; an artefact must repeat "
                "itself. Look for dropout that is still on, or random numbers in forward."
            )


def _one_by_one(run: Run, inputs: Arrays) -> Arrays:
    count = len(next(iter(inputs.values())))
    rows = [run({name: array[index : index + 1] for name, array in inputs.items()}) for index in range(count)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _compare(
    what: str,
    tolerance: Tolerance,
    checked: Sequence[Case],
    reference: Sequence[Array],
    noisy: Sequence[Array],
    answers: Sequence[Array],
    batched_and_alone: tuple[Array, Array],
) -> OutputEvidence:
    for case, expected, answer in zip(checked, reference, answers, strict=True):
        _check_form(f"{what} at {case}", expected, answer)
    floor = noise_floor(reference, noisy)
    bound = floor * tolerance.noise_factor
    errors = [_errors(expected, answer) for expected, answer in zip(reference, answers, strict=True)]
    worst = max(range(len(errors)), key=lambda index: float(errors[index].max(initial=0.0)))
    position = np.unravel_index(int(errors[worst].argmax()), errors[worst].shape)
    batched, alone = batched_and_alone
    evidence = OutputEvidence(
        noise_floor=floor,
        max_error=float(errors[worst].max(initial=0.0)),
        mean_error=float(np.mean([error.mean() for error in errors])),
        bound=bound,
        min_cosine=min(min_cosine(expected, answer) for expected, answer in zip(reference, answers, strict=True)),
        worst=f"{checked[worst]}, element {[int(index) for index in position]}: "
        f"{answers[worst][position]:.9g}, PyTorch {reference[worst][position]:.9g}",
        unbatched_error=float(_errors(batched, alone).max(initial=0.0)),
    )
    _judge(what, evidence, tolerance)
    return evidence


def _check_form(what: str, expected: Array, answer: Array) -> None:
    if answer.shape != expected.shape:
        raise VerificationFailed(f"{what} has shape {list(answer.shape)}, PyTorch's has {list(expected.shape)}.")
    if answer.dtype.kind == "f" and not np.isfinite(answer).all():
        position = [int(index) for index in np.argwhere(~np.isfinite(answer))[0]]
        raise VerificationFailed(f"{what} is {answer[tuple(position)]} at element {position}; PyTorch's is a number.")


def noise_floor(reference: Sequence[Array], noisy: Sequence[Array]) -> float:
    """The rounding that float32 arithmetic brings to these outputs; 0 for outputs that are not floating-point."""
    if reference[0].dtype.kind != "f":
        return 0.0
    measured = max(
        float(_errors(exact, rounded).max(initial=0.0)) for exact, rounded in zip(reference, noisy, strict=True)
    )
    largest = max(float(np.abs(exact).max(initial=0.0)) for exact in reference)
    return max(measured, float(np.finfo(np.float32).eps) * largest)


def _errors(expected: Array, answer: Array) -> npt.NDArray[np.float64]:
    difference: npt.NDArray[np.float64] = np.abs(answer.astype(np.float64) - expected.astype(np.float64))
    return difference


def _judge(what: str, evidence: OutputEvidence, tolerance: Tolerance) -> None:
    allowed = (
        f"allowed is {evidence.bound:.3g}, {tolerance.noise_factor:g} times PyTorch's own float32 noise of "
        f"{evidence.noise_floor:.3g}"
    )
    if evidence.max_error > evidence.bound:
        raise VerificationFailed(
            f"{what} differs from PyTorch by {evidence.max_error:.3g}; {allowed}. Worst at {evidence.worst}."
        )
    if evidence.min_cosine < tolerance.min_cosine:
        raise VerificationFailed(
            f"{what} has a row whose cosine to PyTorch's is {evidence.min_cosine:.7f}; allowed is "
            f"{tolerance.min_cosine}. Worst element at {evidence.worst}."
        )
    # Two runs of the artefact may each be off by the bound.
    if evidence.unbatched_error > 2 * evidence.bound:
        raise VerificationFailed(
            f"{what} of an item in a batch differs from the same item alone by {evidence.unbatched_error:.3g}; "
            f"{allowed}, for each run. The graph mixes items of a batch."
        )
