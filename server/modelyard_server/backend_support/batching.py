"""One run for the batch that Triton formed: join the requests, run once, split the outputs; a bad one fails alone.

Nothing here knows Triton's Python API or a runtime: requests are arrays by name, the runtime is a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard_server.backend_support.batch_io import Shape, batch_input, scatter
from modelyard_server.backend_support.errors import BackendError, ExecutionError, RequestError
from modelyard_server.backend_support.model_config import BatchInput, BatchOutput, ModelConfig
from modelyard_server.backend_support.signature import Signature

Array = npt.NDArray[Any]
Tensors = dict[str, Array]
Outcome = Tensors | BackendError
Run = Callable[[Sequence[str], Tensors], Sequence[Array]]


@dataclass(frozen=True)
class Job:
    """One request.

    Attributes:
        inputs: By name; with the request's own batch dimension where the model batches.
        wanted: The names of the outputs that the client asked for.
    """

    inputs: Tensors
    wanted: Iterable[str]


@dataclass(frozen=True)
class Plan:
    """What is fixed once a model is loaded.

    Attributes:
        batches: Whether requests may be joined along their first dimension.
        outputs: The names of all outputs, in the order of config.pbtxt.
        ragged: Inputs that are flattened and laid end to end instead.
        fixed_batch: A run must have exactly `max_batch_size` items, so that no request can run for itself.
        scalar_inputs: Inputs that the artefact takes as rank 0, and clients send as [1].
        scalar_outputs: The shape that a rank-0 output has for clients.
        batch_inputs: Inputs made of the requests' shapes.
        batch_outputs: By target, with the output's whole shape: outputs cut up by the requests' shapes.
    """

    batches: bool
    outputs: tuple[str, ...]
    fixed_batch: bool = False
    ragged: frozenset[str] = frozenset()
    scalar_inputs: frozenset[str] = frozenset()
    scalar_outputs: Mapping[str, Shape] = field(default_factory=dict)
    batch_inputs: tuple[BatchInput, ...] = ()
    batch_outputs: Mapping[str, tuple[BatchOutput, Shape]] = field(default_factory=dict)


def plan(config: ModelConfig, signature: Signature, *, fixed_batch: bool = False) -> Plan:
    """The plan for a model whose config.pbtxt and artefact agree."""
    inputs = {**signature.inputs, **signature.overridable}
    shapes = {tensor.name: tensor.shape for tensor in config.outputs}
    scalar_inputs = frozenset(tensor.name for tensor in config.inputs if not inputs[tensor.name].dims)
    scalar_outputs = {name: shape for name, shape in shapes.items() if not signature.outputs[name].dims}
    return Plan(
        # A scalar has no dimension to join along.
        batches=config.batches and not scalar_inputs and not scalar_outputs,
        outputs=tuple(shapes),
        fixed_batch=fixed_batch and config.max_batch_size > 1,
        ragged=frozenset(tensor.name for tensor in config.inputs if tensor.ragged),
        scalar_inputs=scalar_inputs,
        scalar_outputs=scalar_outputs,
        batch_inputs=config.batch_inputs,
        batch_outputs={
            target: (entry, (-1, *shapes[target]) if config.batches else shapes[target])
            for entry in config.batch_outputs
            for target in entry.targets
        },
    )


def run_jobs(jobs: Sequence[Job], plan: Plan, run: Run) -> list[Outcome]:
    """Serves the jobs with as few runs as their shapes allow: one, where they are alike.

    Args:
        jobs: The requests of one batch.
        plan: The model's plan.
        run: Runs the model: names of outputs and inputs by name in, the outputs in that order out. It raises
            `BackendError`.

    Returns:
        For each job, in order, its outputs by name or the error that is its own.
    """
    outcomes: list[Outcome] = [{}] * len(jobs)
    for places in _alike(jobs, plan):
        group = [jobs[place] for place in places]
        for place, outcome in zip(places, _run_or_fail_alone(group, plan, run), strict=True):
            outcomes[place] = outcome
    return outcomes


def _alike(jobs: Sequence[Job], plan: Plan) -> Iterable[list[int]]:
    """The places of jobs that one run can serve: the same inputs, with the same shapes but for the batch."""
    if not plan.batches:
        return ([place] for place in range(len(jobs)))
    groups: dict[object, list[int]] = {}
    for place, job in enumerate(jobs):
        key = frozenset((name, None if name in plan.ragged else array.shape[1:]) for name, array in job.inputs.items())
        groups.setdefault(key, []).append(place)
    return groups.values()


def _run_or_fail_alone(jobs: Sequence[Job], plan: Plan, run: Run) -> list[Outcome]:
    """One run for all; where it fails, each job for itself if it can, so that only the one to blame fails."""
    try:
        return list(_run_together(jobs, plan, run))
    except BackendError as error:
        if len(jobs) == 1 or plan.fixed_batch:
            return [error] * len(jobs)
    return [outcome for job in jobs for outcome in _run_or_fail_alone([job], plan, run)]


def _run_together(jobs: Sequence[Job], plan: Plan, run: Run) -> list[Tensors]:
    wanted = set().union(*(job.wanted for job in jobs))
    names = [name for name in plan.outputs if name in wanted]
    answers: list[Tensors] = [{} for _ in jobs]
    for name, output in zip(names, run(names, _join(jobs, plan)), strict=True):
        for job, answer, part in zip(jobs, answers, _split(name, output, jobs, plan), strict=True):
            if name in job.wanted:
                answer[name] = part
    return answers


def _join(jobs: Sequence[Job], plan: Plan) -> Tensors:
    """The inputs of the run; those of a single job as they are, without a copy."""
    inputs = {name: _join_input(name, [job.inputs[name] for job in jobs], plan) for name in jobs[0].inputs}
    for entry in plan.batch_inputs:
        tensor = batch_input(entry, [job.inputs[entry.source].shape for job in jobs])
        inputs.update(dict.fromkeys(entry.targets, tensor))
    return inputs


def _join_input(name: str, arrays: Sequence[Array], plan: Plan) -> Array:
    if name in plan.ragged:
        arrays = [array.reshape(-1) for array in arrays]
    if name in plan.scalar_inputs:
        arrays = [_to_scalar(name, array) for array in arrays]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _to_scalar(name: str, array: Array) -> Array:
    if array.size != 1:
        raise RequestError(f"input '{name}' is a scalar: got shape {list(array.shape)}, expected one element")
    return array.reshape(())


def _split(name: str, output: Array, jobs: Sequence[Job], plan: Plan) -> list[Array]:
    """Each job's part of an output, as views of it."""
    if name in plan.batch_outputs:
        entry, shape = plan.batch_outputs[name]
        return scatter(entry, shape, output, [job.inputs[entry.source].shape for job in jobs])
    if name in plan.scalar_outputs:
        return [output.reshape(plan.scalar_outputs[name])]
    if not plan.batches:
        return [output]
    return _split_batch(name, output, [_batch_size(job) for job in jobs])


def _split_batch(name: str, output: Array, sizes: Sequence[int]) -> list[Array]:
    if output.shape[0] != sum(sizes):
        raise ExecutionError(
            f"output '{name}' has shape {list(output.shape)} for a batch of {sum(sizes)}: the model does not keep the "
            "batch as its first dimension; export it so that it does, or set max_batch_size: 0"
        )
    parts, start = [], 0
    for size in sizes:
        parts.append(output[start : start + size])
        start += size
    return parts


def _batch_size(job: Job) -> int:
    return int(next(iter(job.inputs.values())).shape[0])
