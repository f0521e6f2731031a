"""What a server says about a model, as far as requests are checked against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import model_config_pb2


@dataclass(frozen=True)
class TensorSpec:
    """An input or output as the model's metadata names it.

    Attributes:
        name: Its name.
        datatype: Triton's name: FP32, INT64, BYTES…
        shape: Full shape; -1 where any size is taken. The first is the batch where the model batches.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """The answer of the metadata endpoint (KServe v2, "Model Metadata")."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class ModelSignature:
    """What a request must obey: the metadata, and what only the configuration says.

    Attributes:
        model: The model's name.
        inputs: Name -> what the model takes.
        outputs: Name -> what it gives.
        max_batch_size: The first dimension's maximum; 0 where the model does not batch.
        optional: The inputs that a request may leave out.
        shape_tensors: The inputs whose values are shapes (TensorRT): they follow rules of their own for the batch.
        sequence: Whether requests belong to sequences (`sequence_batching`).
        decoupled: Whether one request may have none or several answers.
        correlation: The datatype of the model's CORRID control input, None where it has none.
    """

    model: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    max_batch_size: int = 0
    optional: frozenset[str] = field(default_factory=frozenset)
    shape_tensors: frozenset[str] = field(default_factory=frozenset)
    sequence: bool = False
    decoupled: bool = False
    correlation: str | None = None


def signature_of(metadata: ModelMetadata, config: Any) -> ModelSignature:
    """Joins the two answers.

    Args:
        metadata: The model's metadata.
        config: The model's configuration, a `tritonclient.grpc.model_config_pb2.ModelConfig`.
    """
    return ModelSignature(
        model=metadata.name,
        inputs={spec.name: spec for spec in metadata.inputs},
        outputs={spec.name: spec for spec in metadata.outputs},
        max_batch_size=config.max_batch_size,
        optional=frozenset(tensor.name for tensor in config.input if tensor.optional),
        shape_tensors=frozenset(tensor.name for tensor in config.input if tensor.is_shape_tensor),
        sequence=config.HasField("sequence_batching"),
        decoupled=config.model_transaction_policy.decoupled,
        correlation=_correlation(config),
    )


def _correlation(config: Any) -> str | None:
    controls = (control for tensor in config.sequence_batching.control_input for control in tensor.control)
    kinds = model_config_pb2.ModelSequenceBatching.Control
    for control in controls:
        if control.kind == kinds.CONTROL_SEQUENCE_CORRID:
            return str(model_config_pb2.DataType.Name(control.data_type)).removeprefix("TYPE_")
    return None
