"""MY231 to MY233, MY241 to MY245: the tensors of config.pbtxt against those of each served version's artefact.

The checks are those of Triton's backends: triton-inference-server/{onnxruntime,openvino,tensorrt}_backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelyard_build.repository.lint.artefacts import TensorInfo
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import (
    ENGINES,
    SAME_TYPE,
    SIGNED,
    Header,
    headers,
    once,
    replaced,
)
from modelyard_build.repository.lint.rules.tensor_texts import (
    INVALID,
    VARIABLE,
    brackets,
    did_you_mean,
    dtype_name,
    stated_tensors,
)
from modelyard_build.repository.lint.subjects import Config

_CONTROL_TYPES = {"int32_false_true": "TYPE_INT32", "fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}


@rule(
    "MY231",
    Severity.ERROR,
    summary="a tensor that the artefact does not have",
    mend="Write the artefact's name, or remove the tensor.",
    verdict=Verdict.REFUSES,
)
def unknown_tensor(config: Config) -> Findings:
    """Triton and the artefact know a tensor by its name.

    The container says `unexpected inference input 'X', allowed inputs are: x`. Names are case-sensitive; exporting a
    model again often renames them.
    """
    return once(_unknown(header) for header in headers(config, SIGNED))


@rule(
    "MY232",
    Severity.ERROR,
    summary="an input of the artefact is not listed",
    mend="List the input, or list none at all to have every one completed.",
    verdict=Verdict.REFUSES,
)
def input_not_listed(config: Config) -> Findings:
    """A model needs each of its inputs with every request.

    Inputs that Triton fills in itself (sequence controls, `batch_input`) count as listed.
    """
    return once(_missing_inputs(header) for header in headers(config, SIGNED))


@rule(
    "MY233",
    Severity.ERROR,
    summary="data_type is not the artefact's",
    mend="Write the artefact's data_type; `--fix` does.",
    verdict=Verdict.REFUSES,
)
def data_type_differs(config: Config) -> Findings:
    """Nothing converts between Triton and ONNX Runtime or TensorRT.

    The TensorRT backend says `unexpected datatype TYPE_FP16 for inference output 'y', expecting TYPE_FP32 for …`.
    """
    return once(_dtypes(header) for header in headers(config, SAME_TYPE))


@rule(
    "MY241",
    Severity.ERROR,
    summary="optional is not what the graph says",
    mend="Set optional: true where the graph has a default, and only there.",
    verdict=Verdict.REFUSES,
)
def optional_differs(config: Config) -> Findings:
    """An input is optional where the graph has a value for it: an initializer of the same name.

    It is served with `max_batch_size: 0` only, or left out of config.pbtxt, and then always has its value.
    """
    return once(_optional(header) for header in headers(config, ("onnxruntime",)))


@rule(
    "MY242",
    Severity.ERROR,
    summary="allow_ragged_batch for a tensor that is not flat in the artefact",
    mend="Remove allow_ragged_batch, or export the model with that input as [ -1 ].",
    verdict=Verdict.REFUSES,
)
def ragged_is_not_flat(config: Config) -> Findings:
    """A ragged batch reaches the model as one flat tensor, with every request laid end to end."""
    return once(_ragged(header) for header in headers(config, SAME_TYPE))


@rule(
    "MY243",
    Severity.ERROR,
    summary="an output of an engine is not listed",
    mend="List every output of the engine.",
    verdict=Verdict.UNSEEN,
)
def engine_output_not_listed(config: Config) -> Findings:
    """An engine writes all of its outputs, and Triton needs a place for each."""
    return once(_missing_outputs(header) for header in headers(config, ENGINES))


@rule(
    "MY244",
    Severity.ERROR,
    summary="the graph has an end that is no tensor of a type that Triton has",
    mend="Export the model with tensors at its ends; for scikit-learn set zipmap=False.",
    verdict=Verdict.REFUSES,
)
def end_is_no_tensor(config: Config) -> Findings:
    """Every input and output of a graph must be a tensor, also those that config.pbtxt does not list.

    The container says `Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O '…', expected 'ONNX_TYPE_TENSOR'.`
    Classifiers out of scikit-learn have such an output: a list of dictionaries of probabilities.
    """
    return once(_no_tensors(header) for header in headers(config, ("onnxruntime",)))


@rule(
    "MY245",
    Severity.ERROR,
    summary="a sequence control does not fit the artefact's input",
    mend="Export the model with the control as [ 1 ], the batch apart, and of the control's type.",
    verdict=Verdict.REFUSES,
)
def control_does_not_fit(config: Config) -> Findings:
    """Triton fills a control with one value a sequence: its shape is [ 1 ] behind the batch.

    The type is that of the pair of values (`int32_false_true`, `fp32_false_true`, `bool_false_true`), or `data_type`.
    """
    return once(_controls_differ(header) for header in headers(config, SAME_TYPE))


def _filled_in(config: Config) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """The names of inputs that Triton fills in itself, and where they stand."""
    for index, control in enumerate(config.message.sequence_batching.control_input):
        yield str(control.name), ("sequence_batching", "control_input", index, "name")
    for index, entry in enumerate(config.message.batch_input):
        for place, name in enumerate(entry.target_name):
            yield str(name), ("batch_input", index, "target_name", place)


def _unknown(header: Header) -> Iterator[Raised]:
    for tensor in stated_tensors(header.config):
        known = header.inputs if tensor.kind == "input" else header.outputs
        if tensor.name and tensor.name not in known:
            yield header.config.raised(
                f"{tensor} is not in {header.title}, which has {_names(known)}{did_you_mean(tensor.name, known)}",
                *tensor.path,
                "name",
            )
    for name, path in _filled_in(header.config):
        if name and name not in header.inputs:
            yield header.config.raised(
                f"input {name!r} is not in {header.title}, which has {_names(header.inputs)}"
                f"{did_you_mean(name, header.inputs)}",
                *path,
            )


def _names(known: Iterable[str]) -> str:
    names = list(known)
    shown = ", ".join(map(repr, names[:8]))
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown or "none"


def _missing_inputs(header: Header) -> Iterator[Raised]:
    message = header.config.message
    if not message.input:
        return
    listed = {tensor.name for tensor in message.input} | {name for name, _ in _filled_in(header.config)}
    listed |= {state.input_name for state in message.sequence_batching.state}
    missing = {
        found.name: found
        for found in header.inputs.values()
        if found.name not in header.artefact.optional_inputs and not listed & _all_names(header, found)
    }
    for found in missing.values():
        yield header.config.raised(
            f"{header.title} needs the input {found.name!r} ({found.dtype or 'of its type'} {_shown(found.shape)}), "
            "which is not listed; list it, or list no inputs at all",
            "input",
        )


def _all_names(header: Header, tensor: TensorInfo) -> set[str]:
    return {name for name, found in header.inputs.items() if found is tensor}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "of any rank" if shape is None else brackets(shape)


def _dtypes(header: Header) -> Iterator[Raised]:
    config = header.config
    for tensor in stated_tensors(config):
        found = header.find(tensor)
        if found is None or not found.dtype or tensor.message.data_type == INVALID:
            continue
        dtype = dtype_name(tensor.message.data_type)
        if dtype != found.dtype:
            path = (*tensor.path, "data_type")
            yield config.raised(
                f"{tensor} is {dtype}, in {header.title} it is {found.dtype}; write data_type: {found.dtype}",
                *path,
                fix=replaced(config, path, found.dtype),
            )
    for index, entry in enumerate(config.message.batch_input):
        for name in entry.target_name:
            found = header.inputs.get(name)
            dtype = dtype_name(entry.data_type)
            if found is not None and found.dtype and dtype in ("TYPE_INT32", "TYPE_FP32") and dtype != found.dtype:
                yield config.raised(
                    f"batch_input {name!r} is {dtype}, in {header.title} it is {found.dtype}; write that",
                    "batch_input",
                    index,
                    "data_type",
                )


def _optional(header: Header) -> Iterator[Raised]:
    has_default = header.artefact.optional_inputs
    for tensor in stated_tensors(header.config):
        if tensor.kind != "input" or tensor.name not in header.inputs:
            continue
        optional = tensor.message.optional
        if optional and tensor.name not in has_default and not header.batches:
            yield header.config.raised(
                f"{tensor} is optional, and {header.title} has no value of its own for it; remove optional: true",
                *tensor.path,
                "optional",
            )
        if not optional and tensor.name in has_default:
            yield header.config.raised(
                f"{tensor} has a default in {header.title}; set optional: true with max_batch_size: 0, or leave the "
                "input out",
                *tensor.path,
            )


def _ragged(header: Header) -> Iterator[Raised]:
    for tensor in stated_tensors(header.config):
        found = header.find(tensor)
        if tensor.kind != "input" or not tensor.message.allow_ragged_batch or found is None or found.shape is None:
            continue
        is_flat = found.shape == (VARIABLE,) or (header.config.backend in ENGINES and len(found.shape) == 1)
        if not is_flat:
            yield header.config.raised(
                f"{tensor} has allow_ragged_batch, for which {header.title} must have [ -1 ], and has "
                f"{brackets(found.shape)}; remove allow_ragged_batch",
                *tensor.path,
                "allow_ragged_batch",
            )


def _missing_outputs(header: Header) -> Iterator[Raised]:
    listed = {tensor.name for tensor in header.config.message.output}
    for found in header.outputs.values() if listed else ():
        if found.name not in listed:
            yield header.config.raised(
                f"{header.title} has the output {found.name!r} ({found.dtype} {_shown(found.shape)}), which is not "
                "listed; list every output of an engine",
                "output",
            )


def _no_tensors(header: Header) -> Iterator[Raised]:
    kinds = header.artefact.details.get("kinds", {})
    ends = {**header.inputs, **header.outputs}
    wrong = {name: f"a {kind or 'value without a type'}" for name, kind in kinds.items()}
    wrong.update(
        {name: "of a type that Triton has not" for name, end in ends.items() if not end.dtype and name not in kinds}
    )
    for name, kind in wrong.items():
        stated = next((tensor.path for tensor in stated_tensors(header.config) if tensor.name == name), ())
        yield header.config.raised(
            f"{name!r} of {header.title} is {kind}, and every end of a graph must be a tensor of a type that Triton "
            "has; export the model without it",
            *stated,
        )


def _controls_differ(header: Header) -> Iterator[Raised]:
    for index, control in enumerate(header.config.message.sequence_batching.control_input):
        found = header.inputs.get(control.name)
        if found is None or found.shape is None or header.batch is None:
            continue
        shape = found.shape[1:] if header.batches else found.shape
        path = ("sequence_batching", "control_input", index)
        if shape != (1,):
            yield header.config.raised(
                f"the control {control.name!r} is {brackets(found.shape)} in {header.title}, expected [ 1 ]"
                f"{' behind the batch' * header.batches}; export the model so",
                *path,
            )
            continue
        for dtype in filter(None, map(_control_dtype, control.control)):
            if found.dtype and dtype != found.dtype:
                yield header.config.raised(
                    f"the control {control.name!r} is {dtype}, in {header.title} it is {found.dtype}", *path
                )


def _control_dtype(control: object) -> str:
    stated = [dtype for field, dtype in _CONTROL_TYPES.items() if len(getattr(control, field))]
    if stated:
        return stated[0]
    number = int(getattr(control, "data_type", INVALID))
    return dtype_name(number) if number != INVALID else ""
