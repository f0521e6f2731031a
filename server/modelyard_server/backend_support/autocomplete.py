"""What is completed in a config.pbtxt that leaves inputs or outputs out, by the artefact.

The rules are those of `AutoCompleteConfig`, `AutoCompleteMaxBatch` and `AutoCompleteIO` of
triton-inference-server/onnxruntime_backend, src/onnxruntime.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import ArtefactTensor, Signature, show_dims

# The server's --backend-config=default-max-batch-size, whose value never reaches a Python-based backend.
DEFAULT_MAX_BATCH_SIZE = 4


@dataclass(frozen=True)
class Completion:
    """What to set.

    Attributes:
        max_batch_size: The value to serve with.
        dynamic_batching: Whether to turn dynamic batching on, as no scheduler is named.
        inputs: `input` entries as in the configuration's JSON; empty where config.pbtxt lists its own.
        outputs: `output` entries, likewise.
    """

    max_batch_size: int
    dynamic_batching: bool
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]


def needs_completion(config: ModelConfig) -> bool:
    """Whether config.pbtxt leaves inputs or outputs out; otherwise nothing at all is completed."""
    return not ((config.inputs or config.batch_inputs) and config.outputs)


def names_scheduler(config: ModelConfig) -> bool:
    """Whether config.pbtxt says how requests are batched."""
    return "dynamic_batching" in config.raw or "sequence_batching" in config.raw


def complete(config: ModelConfig, signature: Signature) -> Completion:
    """What the artefact says about what config.pbtxt leaves out.

    Raises:
        ModelLoadError: `max_batch_size` is set and a tensor of the artefact has no dynamic first dimension.
    """
    max_batch_size = _max_batch_size(config, signature)
    return Completion(
        max_batch_size=max_batch_size,
        dynamic_batching=max_batch_size > 1 and not names_scheduler(config),
        inputs=() if config.inputs or config.batch_inputs else _entries(signature.inputs, max_batch_size),
        outputs=() if config.outputs else _entries(signature.outputs, max_batch_size),
    )


def apply(completion: Completion, auto_complete_model_config: Any) -> None:
    """Writes what was completed into the object that Triton hands to `auto_complete_config`."""
    auto_complete_model_config.set_max_batch_size(completion.max_batch_size)
    if completion.dynamic_batching:
        auto_complete_model_config.set_dynamic_batching()
    # `add_input` and `add_output` know no reshape, without which a tensor that is the batch alone cannot be written.
    auto_complete_model_config.as_dict()["input"].extend(completion.inputs)
    auto_complete_model_config.as_dict()["output"].extend(completion.outputs)


def _max_batch_size(config: ModelConfig, signature: Signature) -> int:
    fixed = [
        (name, tensor.dims)
        for name, tensor in (*signature.inputs.items(), *signature.outputs.items())
        if tensor.dims[:1] != (-1,)
    ]
    if not fixed:
        return config.max_batch_size or DEFAULT_MAX_BATCH_SIZE
    if config.max_batch_size:
        name, dims = fixed[0]
        raise ModelLoadError(
            f"max_batch_size is {config.max_batch_size}, but '{name}' has shape {show_dims(dims)} in "
            f"{signature.artefact}, without a dynamic first dimension: export it with a dynamic batch axis, or set "
            "max_batch_size: 0"
        )
    return 0


def _entries(tensors: Mapping[str, ArtefactTensor], max_batch_size: int) -> tuple[dict[str, Any], ...]:
    return tuple(_entry(name, tensor, max_batch_size) for name, tensor in tensors.items())


def _entry(name: str, tensor: ArtefactTensor, max_batch_size: int) -> dict[str, Any]:
    """Empty `dims` are not allowed: a scalar, and a tensor that is the batch alone, are written as [1]."""
    dims = list(tensor.dims[1:] if max_batch_size else tensor.dims)
    entry: dict[str, Any] = {"name": name, "data_type": tensor.data_type, "dims": dims or [1]}
    if max_batch_size and not dims:
        entry["reshape"] = {"shape": []}
    return entry
