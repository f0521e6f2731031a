"""An artefact held against the PyTorch module, on real inputs, at every corner of the declared sizes.

The bound is derived from the module itself. Its answers in a dtype differ from its float64 answers by rounding; that
difference, the largest over all cases, is the noise floor of that dtype. A float32 artefact sums up in another order,
so its error against float64 is of the same size; one that multiplies in bfloat16 is no further away than PyTorch in
bfloat16. `Quality` says which dtype, and how many times its floor. An output that is exact in both gets a floor of one
unit in the last place of its largest value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from modelyard_build.errors import VerificationFailed
from modelyard_build.export import axes_of
from modelyard_build.model import NUMPY_DTYPES, Array, Arrays, Model, Tensor
from modelyard_build.module_checks import examples_of
from modelyard_build.one_dtype import OneDtype
from modelyard_build.quality import EXACT, Quality
from modelyard_build.similarity import agreement, min_cosine

Run: TypeAlias = Callable[[Arrays], Arrays]
BATCHES = (1, 2)
# Of a model that does not batch.
REQUESTS = 4
# More items than this, one by one, only take time.
MOST_ALONE = 8
# Of a runtime's message, in characters.
MOST_WORDS = 600
# Below this a dtype does not suit a model, whatever PyTorch itself makes of it.
LEAST_OWN_COSINE = 0.999


@dataclass(frozen=True)
class Case:
    """One shape that was run.

    Attributes:
        batch: items.
        sizes: the size of each dynamic axis.
        alone: each item is a request of its own, since the model does not batch.
    """

    batch: int
    sizes: Mapping[str, int]
    alone: bool = False

    def __str__(self) -> str:
        """The case in words, for messages."""
        items = f"{self.batch} requests" if self.alone else f"batch {self.batch}"
        return ", ".join([items, *(f"{name} {size}" for name, size in self.sizes.items())])


@dataclass(frozen=True)
class OutputEvidence:
    """How one output of the artefact compares with PyTorch's over all cases.

    Attributes:
        noise_floor: the largest difference between PyTorch's own answers in the class's dtype and in float64; None
            where the class has no such bound.
        max_error: the largest difference between the artefact and PyTorch in float64.
        mean_error: the mean of it.
        max_error_in_floors: `max_error` in units of the noise floor.
        mean_error_in_floors: `mean_error` in the same units.
        max_relative_error: `max_error` as a share of the largest magnitude of PyTorch's output.
        bound: what `max_error` had to stay under; None where the class has none.
        min_cosine: the least cosine similarity of a row with PyTorch's.
        cosine_bound: what `min_cosine` had to reach.
        agreement: the share of rows whose largest element is PyTorch's, see `similarity.agreement`.
        worst: where `max_error` stands, and the two values.
        unbatched_error: the largest difference between an item run in a batch and run alone.
    """

    noise_floor: float | None
    max_error: float
    mean_error: float
    max_error_in_floors: float | None
    mean_error_in_floors: float | None
    max_relative_error: float
    bound: float | None
    min_cosine: float
    cosine_bound: float
    agreement: float
    worst: str
    unbatched_error: float


def cases(model: Model) -> list[Case]:
    """Batch 1, 2, optimum and maximum, at the shortest and the longest of the dynamic axes."""
    axes = axes_of(model)
    sizes = [{axis.name: axis.min for axis in axes}, {axis.name: axis.max for axis in axes}]
    if not model.max_batch_size:
        return [Case(REQUESTS, size, alone=True) for size in (sizes if axes else sizes[:1])]
    wanted = {*BATCHES, model.optimum_batch_size, model.max_batch_size}
    batches = sorted(batch for batch in wanted if batch <= model.max_batch_size)
    found = [Case(batch, size) for batch in batches for size in sizes]
    return found if axes else found[::2]


@dataclass
class Reference:
    """PyTorch's answers, computed once for every artefact of a model.

    Attributes:
        model: the declaration.
        module: float32, eval mode.
        cases: what was run.
        inputs: the real inputs of each case, items along the first dimension.
        exact: the float64 answers to each.
    """

    model: Model
    module: nn.Module
    cases: list[Case]
    inputs: list[Arrays]
    exact: list[Arrays]
    _noisy: dict[str, list[Arrays]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, module: nn.Module, files: Mapping[str, Path]) -> Reference:
        """Runs the module in float64 on every case."""
        exact = copy.deepcopy(module).double()
        found = cases(model)
        inputs = [examples_of(model, files, case.batch, case.sizes) for case in found]
        with OneDtype(torch.float64):
            answers = [run_module(model, exact, batch) for batch in inputs]
        return cls(model, module, found, inputs, answers)

    def noisy(self, dtype: str) -> list[Arrays]:
        """The module's own answers in a dtype ("float32", "bfloat16", "float16"), as float32 or float64."""
        if dtype not in self._noisy:
            # The module is in float32 as it is; a copy of a large one is as large again.
            same = dtype == "float32"
            module = self.module if same else copy.deepcopy(self.module).to(getattr(torch, dtype))
            self._noisy[dtype] = self._run_in(getattr(torch, dtype), module)
        return self._noisy[dtype]

    def _run_in(self, dtype: torch.dtype, module: nn.Module) -> list[Arrays]:
        """Float32 that the module asks for in some places is its own; where it goes with nothing else, it gives way."""
        try:
            return [run_module(self.model, module, batch) for batch in self.inputs]
        except RuntimeError:
            with OneDtype(dtype):
                return [run_module(self.model, module, batch) for batch in self.inputs]


def verify(
    model: Model, module: nn.Module, run: Run, files: Mapping[str, Path], quality: Quality = EXACT
) -> dict[str, Any]:
    """Proves an artefact against the module; see `compare`."""
    return compare(Reference.of(model, module, files), run, quality)


def compare(reference: Reference, run: Run, quality: Quality) -> dict[str, Any]:
    """Proves an artefact against PyTorch's answers.

    Args:
        reference: PyTorch's answers.
        run: runs the artefact on one batch.
        quality: how far it may be away.

    Returns:
        The evidence, as it stands in the manifest.

    Raises:
        VerificationFailed: naming the output, the case and the worst element.
    """
    model, checked = reference.model, reference.cases
    run = _in_words(model.name, run)
    answers = [run(batch) for batch in reference.inputs]
    _check_repeatable(model, run, reference.inputs[-1], answers[-1])
    batched, alone = _batched_and_alone(reference, run, answers)
    evidence = {
        tensor.name: _compare(
            f"{model.name}: output {tensor.name!r}",
            quality,
            tensor,
            checked,
            [batch[tensor.name] for batch in reference.exact],
            [batch[tensor.name] for batch in reference.noisy(quality.noise_dtype)] if quality.noise_dtype else [],
            [batch[tensor.name] for batch in answers],
            (batched[tensor.name], alone[tensor.name]),
        )
        for tensor in model.outputs
    }
    return {
        "quality": asdict(quality),
        "cases": [str(case) for case in checked],
        "outputs": {name: asdict(found) for name, found in evidence.items()},
    }


def run_module(model: Model, module: nn.Module, inputs: Arrays) -> Arrays:
    """The module's answers, where it is; floating-point inputs are cast to the module's own precision."""
    first = next(module.parameters(), torch.empty(0))
    tensors = {name: torch.from_numpy(array).to(first.device) for name, array in inputs.items()}
    tensors = {
        name: tensor.to(first.dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
    sequence: Sequence[torch.Tensor]
    if model.max_batch_size:
        sequence = _answers(module, tensors)
    else:
        count = len(next(iter(tensors.values())))
        items = [_answers(module, {name: tensor[at] for name, tensor in tensors.items()}) for at in range(count)]
        sequence = [torch.stack(values) for values in zip(*items, strict=True)]
    return {tensor.name: _to_numpy(value) for tensor, value in zip(model.outputs, sequence, strict=True)}


def _answers(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> Sequence[torch.Tensor]:
    with torch.inference_mode():
        outputs = module(**tensors)
    return outputs if isinstance(outputs, tuple | list) else (outputs,)


def _to_numpy(value: torch.Tensor) -> Array:
    """Bfloat16, which numpy does not have, becomes the float32 that it is a part of."""
    array: Array = (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()
    return array


def _in_words(name: str, run: Run) -> Run:
    """What a runtime raises at a declared size is a verdict on the artefact, with the size in it."""

    def guarded(inputs: Arrays) -> Arrays:
        try:
            return run(inputs)
        except MemoryError:
            # Says something of the machine, nothing of the artefact.
            raise
        except Exception as error:
            # Each runtime has exceptions of its own, without a common base.
            shapes = ", ".join(f"{tensor} {list(array.shape)}" for tensor, array in inputs.items())
            reason = " ".join(str(error).split()) or type(error).__name__
            raise VerificationFailed(
                f"{name}: the artefact fails at {shapes}, which is declared: {reason[:MOST_WORDS]}"
            ) from error

    return guarded


def _check_repeatable(model: Model, run: Run, inputs: Arrays, first: Arrays) -> None:
    again = run(inputs)
    for name, array in first.items():
        if not np.array_equal(array, again[name], equal_nan=array.dtype.kind == "f"):
            raise VerificationFailed(
                f"{model.name}: output {name!r} differs between two runs on the same input; an artefact must repeat "
                "itself. Look for dropout that is still on, or random numbers in forward."
            )


def _batched_and_alone(reference: Reference, run: Run, answers: Sequence[Arrays]) -> tuple[Arrays, Arrays]:
    """Some items as they were answered in the largest batch at the longest axes, and each of them run alone."""
    widest = max(range(len(answers)), key=lambda index: reference.cases[index].batch)
    widest = max(index for index, case in enumerate(reference.cases) if case.batch == reference.cases[widest].batch)
    inputs, count = reference.inputs[widest], min(reference.cases[widest].batch, MOST_ALONE)
    rows = [run({name: array[index : index + 1] for name, array in inputs.items()}) for index in range(count)]
    alone = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return {name: array[:count] for name, array in answers[widest].items()}, alone


def _compare(
    what: str,
    quality: Quality,
    tensor: Tensor,
    checked: Sequence[Case],
    reference: Sequence[Array],
    noisy: Sequence[Array],
    answers: Sequence[Array],
    batched_and_alone: tuple[Array, Array],
) -> OutputEvidence:
    for case, expected, answer in zip(checked, reference, answers, strict=True):
        _check_form(f"{what} at {case}", tensor, expected, answer)
    floor = noise_floor(reference, noisy, quality.noise_dtype) if quality.noise_dtype else None
    errors = [_errors(expected, answer) for expected, answer in zip(reference, answers, strict=True)]
    worst = max(range(len(errors)), key=lambda index: float(errors[index].max(initial=0.0)))
    position = np.unravel_index(int(errors[worst].argmax()), errors[worst].shape)
    max_error = float(errors[worst].max(initial=0.0))
    mean_error = float(np.mean([error.mean() for error in errors]))
    largest = max(float(np.abs(expected).max(initial=0.0)) for expected in reference)
    least_cosine = quality.min_class_cosine if tensor.labels else cosine_bound(quality, reference, noisy)
    evidence = OutputEvidence(
        noise_floor=floor,
        max_error=max_error,
        mean_error=mean_error,
        max_error_in_floors=max_error / floor if floor else None,
        mean_error_in_floors=mean_error / floor if floor else None,
        max_relative_error=max_error / largest if largest else max_error,
        bound=None if floor is None else floor * quality.noise_factor,
        min_cosine=min(min_cosine(expected, answer) for expected, answer in zip(reference, answers, strict=True)),
        cosine_bound=least_cosine,
        agreement=agreement(reference, answers, least_cosine if tensor.labels else 1.0),
        worst=f"{checked[worst]}, element {[int(index) for index in position]}: "
        f"{answers[worst][position]:.9g}, PyTorch {reference[worst][position]:.9g}",
        unbatched_error=float(_errors(*batched_and_alone).max(initial=0.0)),
    )
    _judge(what, evidence, quality, tensor)
    _check_unbatched(what, evidence, quality, batched_and_alone)
    return evidence


def _check_form(what: str, tensor: Tensor, expected: Array, answer: Array) -> None:
    if answer.shape != expected.shape:
        raise VerificationFailed(f"{what} has shape {list(answer.shape)}, PyTorch's has {list(expected.shape)}.")
    if answer.dtype != np.dtype(NUMPY_DTYPES[tensor.dtype]):
        raise VerificationFailed(f"{what} is {answer.dtype}, declared is {tensor.dtype}.")
    if answer.dtype.kind == "f" and not np.isfinite(answer).all():
        position = [int(index) for index in np.argwhere(~np.isfinite(answer))[0]]
        raise VerificationFailed(f"{what} is {answer[tuple(position)]} at element {position}; PyTorch's is a number.")


def noise_floor(reference: Sequence[Array], noisy: Sequence[Array], dtype: str = "float32") -> float:
    """The rounding that arithmetic in a dtype brings to these outputs; 0 for outputs that are not floating-point.

    Where PyTorch itself leaves the dtype's range, what it gives is no number and no measure of rounding.
    """
    if reference[0].dtype.kind != "f":
        return 0.0
    measured = max(
        float(_errors(exact, rounded)[np.isfinite(rounded)].max(initial=0.0))
        for exact, rounded in zip(reference, noisy, strict=True)
    )
    largest = max(float(np.abs(exact).max(initial=0.0)) for exact in reference)
    return max(measured, float(torch.finfo(getattr(torch, dtype)).eps) * largest)


def cosine_bound(quality: Quality, reference: Sequence[Array], noisy: Sequence[Array]) -> float:
    """The class's least cosine, or a lower one that follows from PyTorch's own answers in the class's dtype.

    An error of `noise_factor` times PyTorch's own turns a row that much further, and 1 minus the cosine grows with the
    square of the angle. Below `LEAST_OWN_COSINE` the dtype does not suit the model, whatever PyTorch makes of it.
    """
    pairs = [(exact, own) for exact, own in zip(reference, noisy, strict=bool(noisy)) if np.isfinite(own).all()]
    own = min((min_cosine(exact, rounded) for exact, rounded in pairs), default=1.0)
    return min(quality.min_cosine, max(1 - quality.noise_factor**2 * (1 - own), LEAST_OWN_COSINE))


def _errors(expected: Array, answer: Array) -> npt.NDArray[np.float64]:
    difference: npt.NDArray[np.float64] = np.abs(answer.astype(np.float64) - expected.astype(np.float64))
    return difference


def _judge(what: str, evidence: OutputEvidence, quality: Quality, tensor: Tensor) -> None:
    if evidence.bound is not None and evidence.max_error > evidence.bound:
        raise VerificationFailed(
            f"{what} differs from PyTorch by {evidence.max_error:.3g}; {_allowed(evidence, quality)}. Worst at "
            f"{evidence.worst}."
        )
    if evidence.min_cosine < evidence.cosine_bound:
        raise VerificationFailed(
            f"{what} has a row whose cosine to PyTorch's is {evidence.min_cosine:.7f}; the class {quality.name} allows "
            f"{evidence.cosine_bound:.7g}. Worst element at {evidence.worst}."
        )
    if tensor.labels and evidence.agreement < quality.min_agreement:
        raise VerificationFailed(
            f"{what} has the largest element where PyTorch's has it in {evidence.agreement:.2%} of the rows; the class "
            f"{quality.name} asks for {quality.min_agreement:.0%}."
        )


def _allowed(evidence: OutputEvidence, quality: Quality) -> str:
    return (
        f"allowed is {evidence.bound:.3g}, {quality.noise_factor:g} times PyTorch's own {quality.noise_dtype} noise of "
        f"{evidence.noise_floor:.3g}"
    )


def _check_unbatched(what: str, evidence: OutputEvidence, quality: Quality, both: tuple[Array, Array]) -> None:
    # Two runs of the artefact may each be off by what is allowed.
    if evidence.bound is not None and evidence.unbatched_error > 2 * evidence.bound:
        raise VerificationFailed(
            f"{what} of an item in a batch differs from the same item alone by {evidence.unbatched_error:.3g}; "
            f"{_allowed(evidence, quality)}, for each run. The graph mixes items of a batch."
        )
    cosine = min_cosine(*both)
    if cosine < evidence.cosine_bound:
        raise VerificationFailed(
            f"{what} of an item in a batch has a cosine of {cosine:.7f} to the same item alone; the class "
            f"{quality.name} allows {evidence.cosine_bound:.7g}. The graph mixes items of a batch."
        )
