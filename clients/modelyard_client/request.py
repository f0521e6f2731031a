"""From numpy to a request that Triton takes: pure, checked against what the server says about the model."""

from __future__ import annotations

import difflib
import math
import re
import secrets
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard_client.datatypes import encode
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import InvalidInput
from modelyard_client.metadata import ModelSignature
from modelyard_client.tensors import checked_array

Parameter = str | bool | int | float
# Input name -> value, as `checked_array` takes it.
Inputs = Mapping[str, Any]

# Triton's own request parameters (server, docs/protocol/extension_parameters.md) and how infer() takes them.
RESERVED_PARAMETERS = {
    "sequence_id": "the argument sequence_id",
    "sequence_start": "the argument sequence_start",
    "sequence_end": "the argument sequence_end",
    "priority": "the argument priority",
    "timeout": "the argument deadline",
    "headers": "the client's headers",
    "binary_data_output": "nothing: outputs are always binary",
}
# W3C Trace Context, "traceparent Header": version, trace-id, parent-id, trace-flags.
TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Region:
    """A system shared-memory region: its size in bytes, and the servers that have mapped it.

    Attributes:
        name: As Triton knows it.
        key: Its name under /dev/shm, with a slash before it.
    """

    name: str
    key: str
    size: int
    registered: set[Endpoint] = field(default_factory=set, compare=False)


@dataclass(frozen=True)
class Slice:
    """A part of a shared-memory region; in bytes."""

    region: str
    offset: int
    size: int

    @property
    def parameters(self) -> dict[str, Parameter]:
        """As tensor parameters (Triton's shared-memory extension)."""
        return {
            "shared_memory_region": self.region,
            "shared_memory_offset": self.offset,
            "shared_memory_byte_size": self.size,
        }


@dataclass(frozen=True)
class InputTensor:
    """An input ready to be sent: its content, or where in shared memory it lies."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: memoryview | None
    shared: Slice | None = None


@dataclass(frozen=True)
class RequestedOutput:
    """An output that is asked for; `class_count` > 0 asks for its top classes instead of its values."""

    name: str
    class_count: int = 0
    shared: Slice | None = None

    @property
    def parameters(self) -> dict[str, Parameter]:
        """As tensor parameters (Triton's classification and shared-memory extensions)."""
        classification: dict[str, Parameter] = {"classification": self.class_count} if self.class_count else {}
        return {**classification, **(self.shared.parameters if self.shared else {})}


@dataclass(frozen=True)
class InferOptions:
    """What goes with the inputs; every field is an argument of `Client.infer`, which explains it."""

    version: str = ""
    outputs: Sequence[str] | None = None
    class_count: Mapping[str, int] = field(default_factory=dict)
    request_id: str | None = None
    traceparent: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    priority: int = 0
    sequence_id: int | str = 0
    sequence_start: bool = False
    sequence_end: bool = False


@dataclass(frozen=True)
class InferRequest:
    """A request, checked and encoded, that either protocol can carry.

    Attributes:
        outputs: What is asked for; empty asks for all.
        parameters: The caller's, and Triton's own for priority and sequence.
    """

    model: str
    version: str
    request_id: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...]
    parameters: dict[str, Parameter]
    sequence_id: int | str = 0
    traceparent: str | None = None


@dataclass(frozen=True)
class SharedTensors:
    """The tensors of a request that lie in shared memory, by name.

    Attributes:
        inputs: Ready to be sent.
        outputs: Where the server is to write.
        views: The same memory of the outputs, as this process sees it.
        regions: The regions that all of them lie in.
    """

    inputs: Mapping[str, InputTensor] = field(default_factory=dict)
    outputs: Mapping[str, Slice] = field(default_factory=dict)
    views: Mapping[str, memoryview] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()


NOTHING_SHARED = SharedTensors()


def build_request(
    signature: ModelSignature,
    inputs: Inputs,
    options: InferOptions,
    shared: SharedTensors = NOTHING_SHARED,
    *,
    streamed: bool = False,
) -> InferRequest:
    """Checks the inputs and encodes them.

    Args:
        signature: What the server says about the model.
        inputs: Name -> array, as `checked_array` takes it.
        options: What goes with them.
        shared: The tensors that lie in shared memory already.
        streamed: Whether any number of answers is taken.

    Raises:
        InvalidInput: A name, dtype, shape or option does not fit the model.
    """
    try:
        _check_arguments(inputs, options)
        _check_calling(signature, options, streamed)
        return _build_request(signature, inputs, options, shared)
    except InvalidInput as error:
        error.model, error.request_id = signature.model, options.request_id
        raise


def _build_request(
    signature: ModelSignature, inputs: Inputs, options: InferOptions, shared: SharedTensors
) -> InferRequest:
    check_names(signature, "input", [*inputs, *shared.inputs], signature.inputs)
    _check_missing(signature, {*inputs, *shared.inputs})
    tensors = (*_encoded_inputs(signature, inputs), *shared.inputs.values())
    _check_batches(signature, tensors)
    return InferRequest(
        model=signature.model,
        version=options.version,
        request_id=options.request_id or uuid.uuid4().hex,
        inputs=tensors,
        outputs=_requested_outputs(signature, options, shared.outputs),
        parameters=_parameters(options),
        sequence_id=options.sequence_id,
        traceparent=_checked_traceparent(options.traceparent),
    )


def _check_arguments(inputs: Any, options: InferOptions) -> None:
    """Types that a type checker finds, and that would end in a riddle otherwise."""
    if not isinstance(inputs, Mapping):
        raise InvalidInput(f"the inputs are a {type(inputs).__name__}; pass a dict, input name -> array.")
    if isinstance(options.outputs, str):
        raise InvalidInput(f"outputs is the str '{options.outputs}'; pass a list of names: ['{options.outputs}'].")
    if not isinstance(options.class_count, Mapping):
        raise InvalidInput(f"class_count is {options.class_count!r}; pass a dict, output name -> number of classes.")
    _check_text("request_id", options.request_id)
    _check_text("sequence_id", options.sequence_id)


def _check_text(what: str, value: Any) -> None:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} is {value!r}, which cannot be written as UTF-8: it has a lone surrogate.") from None


def check_names(signature: ModelSignature, kind: str, names: Collection[str], known: Collection[str]) -> None:
    """Raises InvalidInput for a name that the model does not have, with the nearest that it has."""
    for name in names:
        if name in known:
            continue
        near = difflib.get_close_matches(str(name), known, n=1) or [
            other for other in known if other.casefold() == str(name).casefold()
        ]
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InvalidInput(
            f"model '{signature.model}' has no {kind} '{name}': {hint}It has {', '.join(sorted(known)) or 'none'}."
        )


def _check_missing(signature: ModelSignature, given: Collection[str]) -> None:
    missing = sorted(set(signature.inputs) - signature.optional - set(given))
    if missing:
        got = ", ".join(sorted(given)) or "none"
        raise InvalidInput(f"model '{signature.model}' also needs the inputs {', '.join(missing)}; got {got}.")


def _check_calling(signature: ModelSignature, options: InferOptions, streamed: bool) -> None:
    if signature.decoupled and not streamed:
        raise InvalidInput(
            f"model '{signature.model}' is decoupled: it gives any number of responses to a request. Take them one by "
            "one with `stream` instead of `infer`."
        )
    if signature.sequence and not options.sequence_id:
        raise InvalidInput(
            f"model '{signature.model}' serves sequences: use `sequence`, or pass sequence_id, and sequence_start and "
            "sequence_end with the first and the last request."
        )
    if signature.sequence:
        check_sequence_id(signature, options.sequence_id)


def check_sequence_id(signature: ModelSignature, sequence_id: int | str) -> None:
    """Raises InvalidInput for an id of which the model would see something else: Triton does not check it."""
    correlation = signature.correlation
    if isinstance(sequence_id, str):
        if correlation not in (None, "STRING"):
            raise InvalidInput(
                f"sequence_id is the str '{sequence_id}', model '{signature.model}' takes {correlation} (its control "
                "input CORRID): pass a positive integer."
            )
    elif not 0 < sequence_id <= largest_sequence_id(signature):
        raise InvalidInput(
            f"sequence_id is {sequence_id}; model '{signature.model}' takes "
            + ("a str." if correlation == "STRING" else f"integers from 1 to {largest_sequence_id(signature)}.")
        )


def random_sequence_id(signature: ModelSignature) -> int | str:
    """An id that no other client has."""
    largest = largest_sequence_id(signature)
    return 1 + secrets.randbelow(largest) if largest else secrets.token_hex(16)


def largest_sequence_id(signature: ModelSignature) -> int:
    """The largest integer that the model takes as the id of a sequence; 0 where it takes none."""
    # gRPC carries it as a signed integer of 64 bits.
    limits = {"STRING": 0, "INT32": 2**31 - 1, "UINT32": 2**32 - 1}
    return limits.get(signature.correlation or "", 2**63 - 1)


def _encoded_inputs(signature: ModelSignature, inputs: Inputs) -> Iterator[InputTensor]:
    for name, value in inputs.items():
        spec = signature.inputs[name]
        array = checked_array(signature, spec, value)
        yield InputTensor(name, spec.datatype, array.shape, encode(array, spec.datatype))


def _check_batches(signature: ModelSignature, tensors: Sequence[InputTensor]) -> None:
    if signature.max_batch_size == 0:
        return
    batches = {tensor.name: tensor.shape[0] for tensor in tensors if tensor.name not in signature.shape_tensors}
    if len(set(batches.values())) > 1:
        sizes = ", ".join(f"'{name}' {size}" for name, size in batches.items())
        raise InvalidInput(f"the inputs of model '{signature.model}' have different batches: {sizes}; make them equal.")


def _requested_outputs(
    signature: ModelSignature, options: InferOptions, shared: Mapping[str, Slice]
) -> tuple[RequestedOutput, ...]:
    if options.outputs is None and not options.class_count and not shared:
        return ()
    names = list(signature.outputs if options.outputs is None else options.outputs)
    check_names(signature, "output", [*names, *options.class_count, *shared], signature.outputs)
    for name, count in options.class_count.items():
        if count < 1:
            raise InvalidInput(f"class_count of output '{name}' is {count}; it is the number of classes, 1 or more.")
    names.extend(name for name in {**options.class_count, **shared} if name not in names)
    return tuple(RequestedOutput(name, options.class_count.get(name, 0), shared.get(name)) for name in names)


def _parameters(options: InferOptions) -> dict[str, Parameter]:
    for name, value in options.parameters.items():
        _check_parameter(name, value)
    for name, number in (("priority", options.priority), ("sequence_id", options.sequence_id)):
        if isinstance(number, int) and not 0 <= number < 2**63:
            raise InvalidInput(f"{name} is {number}; Triton takes 0 (none) and positive integers of 63 bits.")
    parameters = dict(options.parameters)
    if options.priority:
        parameters["priority"] = options.priority
    if options.sequence_id:
        parameters["sequence_id"] = options.sequence_id
        parameters["sequence_start"] = options.sequence_start
        parameters["sequence_end"] = options.sequence_end
    return parameters


def _check_parameter(name: str, value: Any) -> None:
    if name in RESERVED_PARAMETERS:
        raise InvalidInput(f"parameter '{name}' is Triton's own: use {RESERVED_PARAMETERS[name]} instead.")
    _check_text(f"parameter '{name}'", value)
    if name.startswith("triton_"):
        raise InvalidInput(f"parameter '{name}' begins with 'triton_', which Triton keeps for itself: rename it.")
    if not isinstance(value, str | bool | int | float):
        raise InvalidInput(f"parameter '{name}' is a {type(value).__name__}; Triton takes str, bool, int and float.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidInput(f"parameter '{name}' is {value}; Triton takes integers of 64 bits.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"parameter '{name}' is {value}; JSON has no such number.")


def _checked_traceparent(traceparent: str | None) -> str | None:
    if traceparent is not None and not TRACEPARENT.fullmatch(traceparent):
        raise InvalidInput(
            f"traceparent is {traceparent!r}; expected W3C Trace Context, for example "
            "'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'."
        )
    return traceparent


def checked_in_flight(in_flight: int) -> int:
    """Raises InvalidInput for what cannot be a number of requests under way."""
    if in_flight < 1:
        raise InvalidInput(f"in_flight is {in_flight}; at least one request must be under way.")
    return in_flight
