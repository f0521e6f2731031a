"""What an engine and its config.pbtxt must agree on.

The rules are those of triton-inference-server/tensorrt_backend (`ValidateIO`, `InitIOBindingBuffers`,
`CompareDimsSupported`, `AutoCompleteConfigHelper`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard_server.backend_support import checks
from modelyard_server.backend_support.autocomplete import Completion, names_scheduler
from modelyard_server.backend_support.batch_io import check_batch_io
from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig, TensorConfig
from modelyard_server.backend_support.signature import ArtefactTensor, Signature, show_dims
from modelyard_server.backend_support.tensorrt_engine.profiles import Profile, largest_batch


@dataclass(frozen=True)
class Bindings:
    """What an engine says of itself.

    Attributes:
        signature: Its inputs and outputs.
        profiles: Its optimization profiles, in order.
        shape_tensors: Inputs and outputs whose values are shapes.
    """

    signature: Signature
    profiles: Sequence[Profile]
    shape_tensors: frozenset[str] = frozenset()


def check_kind(backend: str, kind: str) -> None:
    """The library runs on GPUs alone.

    Raises:
        ModelLoadError: The instance is placed elsewhere, as there is no GPU or config.pbtxt says so.
    """
    if kind != "GPU":
        raise ModelLoadError(
            f"the {backend} backend serves KIND_GPU only, and this instance is KIND_{kind}: run it where an NVIDIA "
            'GPU is, or serve another artefact of this version, model.onnx with backend: "onnxruntime"'
        )


def check_contract(config: ModelConfig, bindings: Bindings, profiles: Sequence[Profile]) -> None:
    """Holds a model to every rule.

    Args:
        config: The model's configuration.
        bindings: Of the engine.
        profiles: Those that the instance serves.

    Raises:
        ModelLoadError: The first rule that is broken.
    """
    signature = bindings.signature
    for rule in _RULES:
        rule(config, signature)
    _refuse_shape_tensors(bindings)
    _check_all_outputs(config, signature)
    _check_batch(config, profiles, signature)
    scattered = {target for entry in config.batch_outputs for target in entry.targets}
    for kind, tensors, known in (
        ("input", config.inputs, signature.inputs),
        ("output", config.outputs, signature.outputs),
    ):
        for tensor in tensors:
            if tensor.name not in scattered:
                _check_dims(kind, tensor, known[tensor.name], config, signature)
    check_batch_io(config)


def complete(config: ModelConfig, bindings: Bindings, profiles: Sequence[Profile]) -> Completion:
    """What an engine says about what config.pbtxt leaves out.

    Raises:
        ModelLoadError: `max_batch_size` is larger than the engine's.
    """
    signature = bindings.signature
    most = 0 if _listed_without_batch(config, signature) else largest_batch(profiles)
    if config.max_batch_size > most:
        raise ModelLoadError(_too_large(config, most, signature))
    max_batch_size = config.max_batch_size or most
    return Completion(
        max_batch_size=max_batch_size,
        dynamic_batching=most > 1 and not names_scheduler(config),
        inputs=() if config.inputs else _entries(signature.inputs, max_batch_size),
        outputs=() if config.outputs else _entries(signature.outputs, max_batch_size),
    )


def _refuse_optional(config: ModelConfig, _: Signature) -> None:
    for tensor in config.inputs:
        if tensor.optional:
            raise ModelLoadError(f"input '{tensor.name}' is optional, and an engine needs all of its inputs: remove it")


_RULES = (
    checks.refuse_implicit_state,
    checks.refuse_decoupled,
    _refuse_optional,
    checks.check_input_names,
    checks.check_output_names,
    checks.check_data_types,
    checks.check_sequence_controls,
)


def _refuse_shape_tensors(bindings: Bindings) -> None:
    for name in sorted(bindings.shape_tensors):
        raise ModelLoadError(
            f"'{name}' of {bindings.signature.artefact} is a shape tensor, which the embedded Triton does not serve: "
            "use Triton's container, or export the model without it"
        )


def _check_all_outputs(config: ModelConfig, signature: Signature) -> None:
    listed = {tensor.name for tensor in config.outputs}
    for name, tensor in signature.outputs.items():
        if name not in listed:
            raise ModelLoadError(
                f"{signature.artefact} has output '{name}' ({tensor.data_type} {show_dims(tensor.dims)}), which "
                "config.pbtxt does not list: an engine writes all of its outputs, list them all"
            )


def _check_batch(config: ModelConfig, profiles: Sequence[Profile], signature: Signature) -> None:
    most = largest_batch(profiles)
    if config.max_batch_size > most:
        raise ModelLoadError(_too_large(config, most, signature))


def _too_large(config: ModelConfig, most: int, signature: Signature) -> str:
    return (
        f"max_batch_size is {config.max_batch_size}, and the optimization profiles of {signature.artefact} take "
        f"batches of at most {most}: set max_batch_size: {most}, or build the engine for more"
    )


def _check_dims(
    kind: str, tensor: TensorConfig, found: ArtefactTensor, config: ModelConfig, signature: Signature
) -> None:
    """TensorRT's backend is lenient: -1 on one side fits any size on the other; a ragged tensor comes flat."""
    full = (-1, *tensor.shape) if config.batches else tensor.shape
    wanted = (-1,) if tensor.ragged else full
    if len(wanted) != len(found.dims) or not all(
        -1 in (mine, theirs) or mine == theirs for mine, theirs in zip(wanted, found.dims, strict=True)
    ):
        own = found.dims[1:] if config.batches else found.dims
        raise ModelLoadError(
            f"{kind} '{tensor.name}' has shape {show_dims(wanted)} in config.pbtxt and {show_dims(found.dims)} in "
            f"{signature.artefact}{' (the batch first)' if config.batches else ''}: set dims: "
            f"[ {', '.join(str(dim) for dim in own)} ]"
        )


def _listed_without_batch(config: ModelConfig, signature: Signature) -> bool:
    """Whether a tensor that config.pbtxt lists has as many dims as the engine, so that none is left for the batch."""
    known = {**signature.inputs, **signature.outputs}
    listed = [tensor for tensor in (*config.inputs, *config.outputs) if tensor.name in known and not tensor.ragged]
    return any(len(tensor.shape) == len(known[tensor.name].dims) for tensor in listed)


def _entries(tensors: Mapping[str, ArtefactTensor], max_batch_size: int) -> tuple[dict[str, Any], ...]:
    return tuple(_entry(name, tensor, max_batch_size) for name, tensor in tensors.items())


def _entry(name: str, tensor: ArtefactTensor, max_batch_size: int) -> dict[str, Any]:
    dims = list(tensor.dims[1:] if max_batch_size else tensor.dims)
    entry: dict[str, Any] = {"name": name, "data_type": tensor.data_type, "dims": dims or [1]}
    if not dims:
        entry["reshape"] = {"shape": []}
    return entry
