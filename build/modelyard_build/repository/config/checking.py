"""A config.pbtxt that stands, held against what the artefact dictates."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modelyard_build.errors import ConfigContradiction
from modelyard_build.model import CONTROLS, AnyModel, Ensemble, PythonModel, Tensor
from modelyard_build.repository.config.reading import stated_in, text_of
from modelyard_build.repository.config.rendering import data_type
from modelyard_build.repository.layout import BACKEND_OF_PLATFORM, DEFAULT_FILENAMES
from modelyard_build.repository.model_config import model_config_pb2
from modelyard_build.repository.text_format.binding import Path as FieldPath


def check(path: Path, model: AnyModel, text: str | None = None) -> None:
    """Holds a config against what the artefact dictates.

    Args:
        path: the file.
        model: the declaration.
        text: what will stand in the file; what stands in it where it is left out.

    Raises:
        ConfigContradiction: with file:line, what stands there, what Triton will demand, and the mend.
    """
    stated = stated_in(path, text_of(path) if text is None else text)
    config = stated.bound.message
    contradictions = [*_check_kind(config, model), *_check_batch(config, model)]
    contradictions += _check_tensors("input", config.input, model.inputs)
    contradictions += _check_tensors("output", config.output, model.outputs)
    if isinstance(model, Ensemble):
        contradictions += _check_steps(config, model)
    if isinstance(model, PythonModel):
        contradictions += _check_step(config, model)
    if contradictions:
        raise ConfigContradiction("\n".join(f"{stated.at(*at)}: {what}." for at, what in contradictions))


# Where it stands, and the sentence.
_Finding = tuple[FieldPath, str]


def _check_kind(config: model_config_pb2.ModelConfig, model: AnyModel) -> list[_Finding]:
    found = config.backend or config.platform
    accepted: set[str]
    if isinstance(model, Ensemble):
        accepted = {"ensemble"}
    elif isinstance(model, PythonModel):
        accepted = {"python"}
    else:
        accepted = {*DEFAULT_FILENAMES, *BACKEND_OF_PLATFORM} - {"python"}
    if found in accepted:
        return []
    at = "backend" if config.backend else "platform"
    return [((at,), f"backend or platform is {found!r}, the artefact needs {' or '.join(sorted(accepted))}")]


def _check_batch(config: model_config_pb2.ModelConfig, model: AnyModel) -> list[_Finding]:
    findings: list[_Finding] = []
    if config.name and config.name != model.name:
        findings.append((("name",), f"name is {config.name!r}, the folder is {model.name!r}; leave name out"))
    if not model.max_batch_size and config.max_batch_size:
        findings.append(
            (
                ("max_batch_size",),
                f"max_batch_size is {config.max_batch_size}, the artefact has no batch dimension; write 0",
            )
        )
    elif model.max_batch_size and not 1 <= config.max_batch_size <= model.max_batch_size:
        findings.append(
            (
                ("max_batch_size",),
                f"max_batch_size is {config.max_batch_size}, the artefact was proven from 1 to {model.max_batch_size}; "
                "write a number in between, or declare a larger one in the model's source",
            )
        )
    return [*findings, *_check_batcher(config)]


def _check_batcher(config: model_config_pb2.ModelConfig) -> list[_Finding]:
    """What Triton refuses of the batcher, and would be learnt only when the versions are proven."""
    findings: list[_Finding] = []
    batching = config.dynamic_batching
    for index, size in enumerate(batching.preferred_batch_size):
        if size > config.max_batch_size:
            findings.append(
                (
                    ("dynamic_batching", "preferred_batch_size", index),
                    f"preferred_batch_size {size} is above max_batch_size {config.max_batch_size}, and Triton refuses "
                    "that; take it away",
                )
            )
    levels = range(1, batching.priority_levels + 1)
    if levels and batching.default_priority_level not in levels:
        said = f"default_priority_level is {batching.default_priority_level}, Triton takes 1 to {len(levels)}"
        at = "default_priority_level" if batching.default_priority_level else "priority_levels"
        findings.append((("dynamic_batching", at), f"{said}; state the one of requests that name none"))
    if levels:
        findings += [
            (
                ("dynamic_batching", "priority_queue_policy", level),
                f"priority_queue_policy is for level {level}, the levels are 1 to {len(levels)}; take it away",
            )
            for level in sorted(batching.priority_queue_policy)
            if level not in levels
        ]
    return findings


def _check_tensors(
    role: str, found: Iterable[model_config_pb2.ModelInput | model_config_pb2.ModelOutput], declared: Iterable[Tensor]
) -> list[_Finding]:
    expected = {tensor.name: tensor for tensor in declared}
    stated = {tensor.name: (index, tensor) for index, tensor in enumerate(found)}
    findings: list[_Finding] = []
    for name, (index, tensor) in stated.items():
        if name in expected:
            findings += _check_tensor(role, index, tensor, expected[name])
        else:
            has = ", ".join(expected)
            findings.append(((role, index), f"{role} {name!r} is not the artefact's; it has {has}"))
    missing = [name for name in expected if name not in stated]
    return findings + [
        ((role,), f"{role} {name!r} is missing; the artefact has {', '.join(expected)}") for name in missing
    ]


def _check_tensor(
    role: str, index: int, config: model_config_pb2.ModelInput | model_config_pb2.ModelOutput, tensor: Tensor
) -> list[_Finding]:
    findings: list[_Finding] = []
    known = model_config_pb2.DataType.values()
    stated = model_config_pb2.DataType.Name(config.data_type) if config.data_type in known else str(config.data_type)
    said = f"{role} {tensor.name!r}"
    if stated != data_type(tensor):
        findings.append(((role, index, "data_type"), f"{said} is {stated}, the artefact's is {data_type(tensor)}"))
    if not _dims_fit(role, tuple(config.dims), tensor.config_dims):
        dims = f"{said} has dims {list(config.dims)}, the artefact's are {list(tensor.config_dims)}"
        findings.append(((role, index, "dims"), dims))
    return findings


def _dims_fit(role: str, stated: tuple[int, ...], actual: tuple[int, ...]) -> bool:
    """Onnxruntime's rule: outputs exactly as in the graph, inputs may be narrower where the graph varies."""
    if role == "output" or len(stated) != len(actual):
        return stated == actual
    return all(config == size or size == -1 for config, size in zip(stated, actual, strict=True))


def _check_step(config: model_config_pb2.ModelConfig, model: PythonModel) -> list[_Finding]:
    findings: list[_Finding] = [
        (("parameters",), f"parameter {key!r} is missing; the step needs it, such as string_value: {value!r}")
        for key, value in model.all_parameters.items()
        if key not in config.parameters
    ]
    if config.model_transaction_policy.decoupled != model.decoupled:
        said = "answers with a stream" if model.decoupled else "answers each request once"
        decoupled = str(model.decoupled).lower()
        findings.append((("model_transaction_policy",), f"the step {said}; write decoupled: {decoupled}"))
    if config.HasField("sequence_batching") and model.sequence_batching is None:
        findings.append((("sequence_batching",), "the step keeps no state between requests; take it away"))
    if model.sequence_batching is not None:
        findings += _check_controls(config)
    return findings


def _check_controls(config: model_config_pb2.ModelConfig) -> list[_Finding]:
    """A step that keeps state needs to be told of each request whose it is, and where the sequence begins and ends."""
    stated = {control.name for control in config.sequence_batching.control_input}
    return [
        (("sequence_batching",), f"the step keeps state, and needs the control input {name!r}; there is none")
        for name in CONTROLS
        if name not in stated
    ]


def _check_steps(config: model_config_pb2.ModelConfig, model: Ensemble) -> list[_Finding]:
    stated = [step.model_name for step in config.ensemble_scheduling.step]
    expected = [step.model for step in model.steps]
    if stated == expected:
        return []
    said = f"the steps are {', '.join(stated)}; declared are {', '.join(expected)}"
    return [(("ensemble_scheduling", "step"), said)]
