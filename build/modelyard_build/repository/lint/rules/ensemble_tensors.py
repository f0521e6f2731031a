"""MY508 to MY516 and MY521: the tensors between the steps of an ensemble."""

from __future__ import annotations

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.ensemble_graph import graph_of, pairs, steps_of
from modelyard_build.repository.lint.rules.tensor_texts import brackets, did_you_mean, dtype_name
from modelyard_build.repository.lint.subjects import Config


@rule(
    "MY508",
    Severity.ERROR,
    summary="an input of a step's model is not mapped",
    mend="Add an `input_map` for it.",
    verdict=Verdict.REFUSES,
)
def input_is_not_mapped(config: Config) -> Findings:
    """Every input that is not optional takes a tensor of the ensemble.

    Triton says `in ensemble …, input … in model … is not mapped to any ensemble tensors`.
    """
    for step in steps_of(config):
        for message in step.tensors.message.input if step.tensors else ():
            # A step without any map is told of already.
            if step.message.input_map and message.name not in step.message.input_map and not message.optional:
                yield config.raised(
                    f"{step}: nothing is mapped to its input {message.name!r}; add an input_map", *step.path
                )


@rule(
    "MY509",
    Severity.ERROR,
    summary="a map names a tensor that the step's model has not",
    mend="Correct the map's key: it is the name in the step's model, the value that in the ensemble.",
    verdict=Verdict.REFUSES,
)
def mapped_tensor_is_unknown(config: Config) -> Findings:
    """Triton says `in ensemble …, ensemble tensor … is mapping to non-existing input … in model …`.

    Key and value are often mixed up: the key is the step's name of the tensor.
    """
    for step in steps_of(config):
        if step.tensors is None:
            continue
        for field, listed in (("input_map", step.tensors.message.input), ("output_map", step.tensors.message.output)):
            names = [message.name for message in listed]
            for key in getattr(step.message, field):
                if key not in names:
                    kind = field.partition("_")[0]
                    yield config.raised(
                        f"{step} has no {kind} {key!r}, it has {', '.join(names)}{did_you_mean(key, names)}",
                        *(*step.path, field, key),
                    )


@rule(
    "MY510",
    Severity.ERROR,
    summary="a step reads a tensor that never comes to be",
    mend="Map the input to a tensor that the ensemble is given, or that an earlier step writes.",
    verdict=Verdict.REFUSES,
)
def tensor_is_never_written(config: Config) -> Findings:
    """A tensor is an input of the ensemble or the output of a step, and steps may not wait for one another.

    Triton says `ensemble tensor '…' is unused in ensemble '…'`, or `output '…' for ensemble '…' is not written: at
    least one of its depending tensors, '…', is not connected`.
    """
    graph = graph_of(config)
    for tensor, (step, key) in graph.read.items():
        place = (*step.path, "input_map", key)
        if tensor == graph.circle:
            yield config.raised(f"{tensor!r} is made out of itself: the steps wait for one another in a circle", *place)
        elif tensor not in graph.ready and tensor not in graph.written:
            known = [*graph.inputs, *graph.written]
            yield config.raised(f"no step writes {tensor!r}, and it is no input{did_you_mean(tensor, known)}", *place)


@rule(
    "MY511",
    Severity.ERROR,
    summary="a step writes a tensor that nobody reads",
    mend="Take the `output_map` away, or make the tensor an output of the ensemble.",
    verdict=Verdict.REFUSES,
)
def tensor_is_never_read(config: Config) -> Findings:
    """An output of a step's model that is not needed is simply not mapped.

    Triton says `ensemble tensor '…' is unused in ensemble '…'`.
    """
    graph = graph_of(config)
    for tensor, writers in graph.written.items():
        if tensor not in graph.read and tensor not in graph.outputs:
            step, key = writers[0]
            close = did_you_mean(tensor, graph.outputs)
            yield config.raised(
                f"{tensor!r} is written and never read{close or '; take the output_map away'}",
                *(*step.path, "output_map", key),
            )


@rule(
    "MY512",
    Severity.ERROR,
    summary="a tensor that is written twice",
    mend="Give the second one a name of its own.",
    verdict=Verdict.REFUSES,
)
def tensor_is_written_twice(config: Config) -> Findings:
    """A tensor comes from one place.

    Triton says `ensemble tensor '…' can appear in an output map only once for ensemble '…' step 1`. A step that writes
    an input of the ensemble is worse: the model loads, and its requests are never answered.
    """
    graph = graph_of(config)
    for tensor, writers in graph.written.items():
        second = writers[:1] if tensor in graph.inputs else writers[1:]
        for step, key in second:
            other = "is an input of the ensemble" if tensor in graph.inputs else f"is written by {writers[0][0]}"
            yield config.raised(
                f"{step} writes {tensor!r}, which {other}; give it a name of its own",
                *(*step.path, "output_map", key),
            )


@rule(
    "MY513",
    Severity.ERROR,
    summary="an output of the ensemble that no step writes",
    mend="Map the output of a step to it.",
    verdict=Verdict.REFUSES,
)
def output_is_not_written(config: Config) -> Findings:
    """Triton says `ensemble output '…' for ensemble …' is not used`."""
    graph = graph_of(config)
    for index, name in enumerate(graph.outputs):
        if name and graph.steps and name not in graph.written and name not in graph.read:
            close = did_you_mean(name, [tensor for tensor in graph.written if tensor not in graph.outputs])
            yield config.raised(f"no step writes the output {name!r}{close or '; add an output_map'}", "output", index)


@rule(
    "MY514",
    Severity.ERROR,
    summary="an input of the ensemble that no step reads",
    mend="Map it to an input of a step, or take it away.",
    verdict=Verdict.REFUSES,
)
def input_is_not_read(config: Config) -> Findings:
    """Triton says `ensemble input '…' for ensemble …' is not used`."""
    graph = graph_of(config)
    for index, name in enumerate(graph.inputs):
        if name and graph.steps and name not in graph.read and name not in graph.written:
            close = did_you_mean(name, [tensor for tensor in graph.read if tensor not in graph.inputs])
            yield config.raised(f"no step reads the input {name!r}{close or '; add an input_map'}", "input", index)


@rule(
    "MY515",
    Severity.ERROR,
    summary="a tensor has one data_type here and another there",
    mend="State the type that the steps' models have; a step of your own converts.",
    verdict=Verdict.REFUSES,
)
def data_types_differ(config: Config) -> Findings:
    """Triton converts nothing between steps.

    It says `in ensemble …, ensemble tensor …: inconsistent data type: TYPE_FP32 is inferred from model … while
    TYPE_INT32 is inferred from model …`.
    """
    for tensor, first, use in pairs(config):
        if first.dtype != use.dtype:
            yield config.raised(
                f"{tensor!r} is {dtype_name(use.dtype)} in {use.owner} and {dtype_name(first.dtype)} in {first.owner}",
                *use.path,
            )


@rule(
    "MY516",
    Severity.ERROR,
    summary="a tensor has one shape here and another there",
    mend="State the dims that the steps' models have.",
    verdict=Verdict.REFUSES,
)
def shapes_differ(config: Config) -> Findings:
    """A size may be -1 at one end, nothing else.

    The dims of a step count as they stand in its config, before reshape. Triton says `in ensemble …, ensemble tensor
    …: inconsistent shape: [-1,4] is inferred from model … while [-1,5] is inferred from model …`.
    """
    for tensor, first, use in pairs(config):
        if first.dtype == use.dtype and not first.fits(use):
            yield config.raised(
                f"{tensor!r} is {brackets(use.full)} in {use.owner} and {brackets(first.full)} in {first.owner}",
                *use.path,
            )


@rule(
    "MY521",
    Severity.WARNING,
    summary="an optional input of an ensemble that a step must have",
    mend="Take `optional` away, or make the step's input optional.",
    verdict=Verdict.LOADS,
)
def optional_input_is_needed(config: Config) -> Findings:
    """A request without it is accepted, and fails inside the ensemble.

    `in ensemble …, expected 1 inputs but got 0 inputs for model …`.
    """
    graph = graph_of(config)
    for index, message in enumerate(config.message.input):
        if message.optional and message.name in graph.read:
            step, key = graph.read[message.name]
            needed = {each.name for each in step.tensors.message.input if not each.optional} if step.tensors else set()
            if key in needed:
                yield config.raised(
                    f"input {message.name!r} is optional, and {step} must have it; take optional away",
                    *("input", index, "optional"),
                )
