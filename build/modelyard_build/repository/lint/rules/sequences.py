"""MY314 to MY318: sequences: their controls, slots and pauses."""

from __future__ import annotations

from typing import Any

from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.schedulers import GRAPH_BACKENDS, scheduler
from modelyard_build.repository.lint.rules.tensor_texts import dtype_name
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path as FieldPath

_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRELATION_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


@rule(
    "MY314",
    Severity.ERROR,
    summary="a sequence control that Triton refuses",
    mend="Give each control a tensor of its own and one pair of values, CONTROL_SEQUENCE_CORRID a data_type.",
    verdict=Verdict.REFUSES,
)
def control_is_refused(config: Config) -> Findings:
    """Triton refuses the model.

    It says, for instance, `sequence batching control tensor must have a name for …`, `… specifies multiple
    CONTROL_SEQUENCE_START tensors for …`, `… must specify either 'int32_false_true', 'fp32_false_true' or
    'bool_false_true' for CONTROL_SEQUENCE_START for …`, `… must have exactly 2 entries …` or `unexpected data type for
    control CONTROL_SEQUENCE_CORRID for …`.
    """
    names: set[str] = set()
    kinds: set[int] = set()
    for index, tensor in enumerate(config.message.sequence_batching.control_input):
        place = ("sequence_batching", "control_input", index)
        if not tensor.name:
            yield config.raised("this control_input has no name; name the model's tensor that it fills", *place)
        elif tensor.name in names:
            yield config.raised(
                f"the tensor {tensor.name!r} has a control_input already; each control needs a tensor of its own",
                *place,
            )
        names.add(tensor.name)
        for number, control in enumerate(tensor.control):
            yield from _control(config, control, (*place, "control", number), kinds)


def _control(config: Config, control: Any, place: FieldPath, kinds: set[int]) -> Findings:
    """What is wrong with one control; its kind joins `kinds`."""
    if control.kind not in control.Kind.values():
        return
    kind = control.Kind.Name(control.kind)
    if control.kind in kinds:
        yield config.raised(f"{kind} has a tensor already; take one of the two away", *place)
    kinds.add(control.kind)
    stated = [field for field in _VALUES if len(getattr(control, field))]
    if kind == "CONTROL_SEQUENCE_CORRID":
        if stated:
            yield config.raised(f"{kind} carries a number, so {stated[0]} has no place here; take it away", *place)
        elif dtype_name(control.data_type) not in _CORRELATION_TYPES:
            yield config.raised(f"{kind} needs a data_type: one of {', '.join(_CORRELATION_TYPES)}", *place)
    elif len(stated) != 1:
        got = " and ".join(stated) or "none"
        yield config.raised(f"{kind} needs one of {', '.join(_VALUES)}, and has {got}", *place)
    elif len(getattr(control, stated[0])) != 2:
        found = len(getattr(control, stated[0]))
        yield config.raised(f"{stated[0]} has {found} values; two are expected, for false and for true", *place)


@rule(
    "MY315",
    Severity.WARNING,
    summary="a sequence control that replaces an input",
    mend="Give the control a tensor of its own, which is not listed in input: Triton fills it, no client sends it.",
    verdict=Verdict.LOADS,
)
def control_replaces_an_input(config: Config) -> Findings:
    """Triton loads it, asks the clients for the input, and then lays the control's [0] or [1] over what they sent.

    Seen with a Python model: the client's four numbers came back as one. Backends that check a graph refuse the model,
    because the tensor then counts twice.
    """
    inputs = {tensor.name for tensor in config.message.input}
    for index, tensor in enumerate(config.message.sequence_batching.control_input):
        if tensor.name and tensor.name in inputs:
            yield config.raised(
                f"Triton fills {tensor.name!r} with the control, over what clients send: it is listed in input too; "
                "take it out of input",
                "sequence_batching",
                "control_input",
                index,
            )


@rule(
    "MY316",
    Severity.WARNING,
    summary="sequences that the graph cannot tell apart",
    mend="Add control_input for CONTROL_SEQUENCE_START and READY, or use dynamic_batching.",
    verdict=Verdict.LOADS,
)
def sequences_without_controls(config: Config) -> Findings:
    """A graph sees nothing of a sequence but what `control_input` or `state` gives it.

    Without them the sequence batcher only binds each client to one slot of one instance, and batches less.

    With the direct strategy a batch has a row for each slot, and only CONTROL_SEQUENCE_READY tells a graph which rows
    are somebody's.
    """
    message = config.message
    sequences = message.sequence_batching
    if scheduler(config) != "sequence_batching" or config.backend not in GRAPH_BACKENDS - {"openvino"}:
        return
    kinds = {control.kind for tensor in sequences.control_input for control in tensor.control}
    if not kinds and not sequences.state:
        yield config.raised(
            "the graph is told nothing of its sequences: neither control_input nor state is stated; add them, or use "
            "dynamic_batching",
            "sequence_batching",
        )
    elif kinds and not sequences.HasField("oldest") and message.max_batch_size > 1 and _READY not in kinds:
        yield config.raised(
            "a batch has rows without a request, and the graph cannot tell which: add a control_input of "
            "CONTROL_SEQUENCE_READY",
            "sequence_batching",
        )


_READY = 1


@rule(
    "MY317",
    Severity.ERROR,
    summary="minimum_slot_utilization is outside of 0 to 1",
    mend="Set the part of the slots that must be taken, such as 0.5; or leave it out.",
    verdict=Verdict.REFUSES,
)
def slot_utilization_is_refused(config: Config) -> Findings:
    """Triton refuses the model: `sequence batching minimum slot utilization must be in range (0.0, 1.0] for …`."""
    found = config.message.sequence_batching.direct.minimum_slot_utilization
    if found < 0 or found > 1:
        yield config.raised(
            f"minimum_slot_utilization is {found:g}; a part of the slots is expected, above 0 and up to 1",
            "sequence_batching",
            "direct",
            "minimum_slot_utilization",
        )


@rule(
    "MY318",
    Severity.WARNING,
    summary="max_sequence_idle_microseconds 0 is one second, not for ever",
    mend="State how long a client may pause within a sequence, in microseconds.",
    verdict=Verdict.LOADS,
)
def idle_zero_is_a_second(config: Config) -> Findings:
    """0 is "not set", and Triton takes 1000000.

    A client that pauses longer within its sequence loses its slot, and its next request is an error or the start of
    another sequence.
    """
    path = ("sequence_batching", "max_sequence_idle_microseconds")
    if config.states(*path) and not config.message.sequence_batching.max_sequence_idle_microseconds:
        yield config.raised(
            "0 means one second, the default; state the longest pause within a sequence, in microseconds",
            *path,
            fix=without(config, *path),
        )
