"""config.pbtxt against the artefact: the rules that the container's backends hold a model to when it loads.

Each function is one rule and raises `ModelLoadError` for the first tensor that breaks it. The rules are those of
triton-inference-server/onnxruntime_backend (`ValidateInputs`, `ValidateOutputs`, `CompareDimsSupported`,
`Validate…SequenceControl`); the words are ours: the tensor, what came, what is expected, and the mend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from modelyard_server.backend_support.datatypes import DATA_TYPES
from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig, TensorConfig
from modelyard_server.backend_support.signature import ArtefactTensor, Signature, show_dims


def check_input_names(config: ModelConfig, signature: Signature) -> None:
    """Every input of config.pbtxt is in the artefact, and every input that the artefact needs is in config.pbtxt.

    Inputs that Triton fills in itself (sequence controls, `batch_input` targets) count as listed.
    """
    allowed = [*signature.inputs, *signature.overridable]
    for tensor in config.inputs:
        _refuse_unknown("input", tensor.name, allowed, signature)
    filled_in = [control.name for control in config.controls]
    filled_in += [target for entry in config.batch_inputs for target in entry.targets]
    sent = {tensor.name for tensor in config.inputs}
    for name in filled_in:
        _refuse_unknown("input", name, signature.inputs, signature)
        if name in sent:
            raise ModelLoadError(f"input '{name}' is filled in by Triton, and listed as an input too: list it once")
    for name, needed in signature.inputs.items():
        if name not in sent and name not in filled_in:
            raise ModelLoadError(
                f"{signature.artefact} needs input '{name}' ({needed.data_type} {show_dims(needed.dims)}), which "
                "config.pbtxt does not list: add it, or list no inputs at all to have them all completed"
            )


def check_output_names(config: ModelConfig, signature: Signature) -> None:
    """Every output of config.pbtxt is in the artefact; the artefact may have more."""
    for tensor in config.outputs:
        _refuse_unknown("output", tensor.name, signature.outputs, signature)


def check_data_types(config: ModelConfig, signature: Signature) -> None:
    """Each tensor has the artefact's data type."""
    inputs = {**signature.inputs, **signature.overridable}
    for kind, tensors, known in (("input", config.inputs, inputs), ("output", config.outputs, signature.outputs)):
        for tensor in tensors:
            _check_data_type(f"{kind} '{tensor.name}'", tensor.data_type, known[tensor.name], signature)
    for entry in config.batch_inputs:
        for target in entry.targets:
            _check_data_type(f"batch_input '{target}'", entry.data_type, inputs[target], signature)


def check_optional_inputs(config: ModelConfig, signature: Signature) -> None:
    """Optional inputs are the artefact's overridable ones, all of them, and only in a model that does not batch."""
    for tensor in config.inputs:
        if tensor.optional and config.batches:
            raise ModelLoadError(
                f"input '{tensor.name}' is optional and max_batch_size is {config.max_batch_size}: optional inputs "
                "need max_batch_size: 0"
            )
        if tensor.optional and tensor.ragged:
            raise ModelLoadError(
                f"input '{tensor.name}' is optional and ragged: drop optional: true or allow_ragged_batch: true"
            )
        if tensor.optional and tensor.name in signature.inputs:
            raise ModelLoadError(
                f"input '{tensor.name}' is optional in config.pbtxt, but {signature.artefact} has no value of its own "
                "for it: drop optional: true"
            )
        if not tensor.optional and tensor.name in signature.overridable:
            raise ModelLoadError(
                f"input '{tensor.name}' has a value in {signature.artefact} (an initializer): set optional: true and "
                "max_batch_size: 0, or leave the input out of config.pbtxt"
            )


def check_input_shapes(config: ModelConfig, signature: Signature) -> None:
    """Inputs may be narrower than the artefact: where it has -1, config.pbtxt may name a size."""
    known = {**signature.inputs, **signature.overridable}
    for tensor in config.inputs:
        if tensor.ragged:
            _check_ragged(tensor, known[tensor.name], signature)
        else:
            _check_shape("input", tensor, known[tensor.name], config, signature, exact=False)


def check_output_shapes(config: ModelConfig, signature: Signature) -> None:
    """Outputs match the artefact exactly, -1 included; `batch_output` targets take their shape from an input."""
    scattered = {target for entry in config.batch_outputs for target in entry.targets}
    for tensor in config.outputs:
        if tensor.name not in scattered:
            _check_shape("output", tensor, signature.outputs[tensor.name], config, signature, exact=True)


def check_sequence_controls(config: ModelConfig, signature: Signature) -> None:
    """Each control has the shape [1] in the artefact, the batch apart, and its data type."""
    for control in config.controls:
        tensor = signature.inputs[control.name]
        dims = tensor.dims[1:] if config.batches else tensor.dims
        if dims != (1,):
            raise ModelLoadError(
                f"sequence control '{control.name}' has shape {show_dims(dims)} in {signature.artefact}"
                f"{' after the batch dimension' if config.batches else ''}, expected [1]: export the model with it"
            )
        _check_data_type(f"sequence control '{control.name}'", control.data_type, tensor, signature)


def refuse_implicit_state(config: ModelConfig, _: Signature) -> None:
    """Triton keeps no state for a Python-based backend: it would hand out the initial one with every request."""
    if config.states:
        raise ModelLoadError(
            f"implicit state (sequence_batching.state '{config.states[0]}') is not kept for a Python-based backend, "
            "and answers would be silently wrong: serve this model with Triton's container, or make the state an input "
            "and an output that the client carries"
        )


def refuse_decoupled(config: ModelConfig, _: Signature) -> None:
    """A graph answers each request once."""
    if config.raw.get("model_transaction_policy", {}).get("decoupled"):
        raise ModelLoadError(
            "model_transaction_policy is decoupled, for models that answer a request any number of times; a graph "
            "answers once: remove it"
        )


def _refuse_unknown(kind: str, name: str, allowed: Collection[str], signature: Signature) -> None:
    if name not in allowed:
        raise ModelLoadError(
            f"config.pbtxt lists {kind} '{name}', which {signature.artefact} does not have; it has {_quoted(allowed)}: "
            f"rename the {kind} or remove it"
        )


def _check_data_type(what: str, data_type: str, tensor: ArtefactTensor, signature: Signature) -> None:
    if data_type not in DATA_TYPES:
        raise ModelLoadError(f"{what} has data_type {data_type}, expected one of {', '.join(DATA_TYPES)}")
    if data_type != tensor.data_type:
        raise ModelLoadError(
            f"{what} is {data_type} in config.pbtxt and {tensor.data_type} in {signature.artefact}: "
            f"set data_type: {tensor.data_type}, or export the model with the other type"
        )


def _check_ragged(tensor: TensorConfig, artefact: ArtefactTensor, signature: Signature) -> None:
    """A ragged batch reaches the artefact as one flat tensor."""
    if artefact.dims != (-1,):
        raise ModelLoadError(
            f"input '{tensor.name}' allows ragged batches, for which its shape in {signature.artefact} must be [-1] "
            f"(all requests flattened into one), but is {show_dims(artefact.dims)}: drop allow_ragged_batch: true"
        )


def _check_shape(
    kind: str, tensor: TensorConfig, artefact: ArtefactTensor, config: ModelConfig, signature: Signature, *, exact: bool
) -> None:
    if not artefact.dims:
        _check_scalar(kind, tensor, signature)
        return
    if config.batches and artefact.dims[0] != -1:
        raise ModelLoadError(
            f"max_batch_size is {config.max_batch_size}, but {kind} '{tensor.name}' has shape "
            f"{show_dims(artefact.dims)} in {signature.artefact}, whose first dimension is not dynamic: export it with "
            f"a dynamic batch axis, or set max_batch_size: 0 and {_dims_text(artefact.dims)}"
        )
    full = (-1, *tensor.shape) if config.batches else tensor.shape
    if not _fits(full, artefact.dims, exact=exact):
        batch = f" (the batch of max_batch_size {config.max_batch_size}, then its dims)" if config.batches else ""
        wanted = artefact.dims[1:] if config.batches else artefact.dims
        raise ModelLoadError(
            f"{kind} '{tensor.name}' has shape {show_dims(full)} in config.pbtxt{batch} and "
            f"{show_dims(artefact.dims)} in {signature.artefact}: set {_dims_text(wanted)}"
        )


def _check_scalar(kind: str, tensor: TensorConfig, signature: Signature) -> None:
    if any(dim != 1 for dim in tensor.shape):
        raise ModelLoadError(
            f"{kind} '{tensor.name}' is a scalar in {signature.artefact}, but has shape {show_dims(tensor.shape)} in "
            "config.pbtxt: set dims: [ 1 ]"
        )


def _fits(config_dims: tuple[int, ...], artefact_dims: tuple[int, ...], *, exact: bool) -> bool:
    if len(config_dims) != len(artefact_dims):
        return False
    return all(
        mine == theirs or (theirs == -1 and not exact) for mine, theirs in zip(config_dims, artefact_dims, strict=True)
    )


def _dims_text(dims: tuple[int, ...]) -> str:
    """The lines of config.pbtxt that give this shape; Triton allows no empty `dims`."""
    if not dims:
        return "dims: [ 1 ] and reshape { shape: [ ] }"
    return f"dims: [ {', '.join(str(dim) for dim in dims)} ]"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
