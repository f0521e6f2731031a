"""What is completed in a config.pbtxt by an OpenVINO model.

The rules are those of `AutoCompleteBatching` and `AutoCompleteInputOrOutput` of
triton-inference-server/openvino_backend: a model batches where each of its tensors has a layout with a batch, which
models read from ONNX do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard_server.backend_support.autocomplete import DEFAULT_MAX_BATCH_SIZE, Completion, names_scheduler
from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import ArtefactTensor, Signature, show_dims
from modelyard_server.backends.openvino.graph import UNSERVED


def needs_completion(config: ModelConfig) -> bool:
    """Whether the model could add anything to config.pbtxt."""
    complete = config.inputs and config.outputs and config.batches and names_scheduler(config)
    return not complete


def complete(config: ModelConfig, signature: Signature, *, has_batch: bool) -> Completion:
    """What the model says about what config.pbtxt leaves out.

    Args:
        config: The configuration.
        signature: The model's inputs and outputs.
        has_batch: Whether the layout of each of them has a batch.

    Raises:
        ModelLoadError: A tensor cannot be written into a config.pbtxt.
    """
    max_batch_size = config.max_batch_size or (DEFAULT_MAX_BATCH_SIZE if has_batch else 0)
    return Completion(
        max_batch_size=max_batch_size,
        dynamic_batching=has_batch and max_batch_size > 1 and not names_scheduler(config),
        inputs=() if config.inputs else _entries("input", signature.inputs, max_batch_size, signature),
        outputs=() if config.outputs else _entries("output", signature.outputs, max_batch_size, signature),
    )


def _entries(
    field: str, tensors: Mapping[str, ArtefactTensor], max_batch_size: int, signature: Signature
) -> tuple[dict[str, Any], ...]:
    return tuple(_entry(field, name, tensor, max_batch_size, signature) for name, tensor in tensors.items())


def _entry(field: str, name: str, tensor: ArtefactTensor, max_batch_size: int, signature: Signature) -> dict[str, Any]:
    """The container completes a shape that is fixed, or dynamic in every dimension; any other is not loaded there."""
    dims = list(tensor.dims[1:] if max_batch_size else tensor.dims)
    partly_dynamic = -1 in tensor.dims and set(tensor.dims) != {-1}
    if partly_dynamic or not dims or tensor.data_type == UNSERVED:
        raise ModelLoadError(
            f"{field} '{name}' of {signature.artefact} ({tensor.data_type}, shape {show_dims(tensor.dims)}) cannot be "
            f'completed, in the container neither: list it in config.pbtxt, {field} [ {{ name: "{name}" data_type: … '
            f"dims: {dims or [1]} }} ]"
        )
    return {"name": name, "data_type": tensor.data_type, "dims": dims}
