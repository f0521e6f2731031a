"""The model configuration that Triton hands to a backend as JSON, read into plain values.

Only what a backend decides by is read; the rest stays in `ModelConfig.raw`. The field names are those of
``model_config.proto`` (triton-inference-server/common).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TensorConfig:
    """One entry of `input` or `output`.

    Attributes:
        name: The tensor's name.
        data_type: As in config.pbtxt, ``TYPE_FP32``.
        shape: What the backend sees without the batch dimension: `reshape.shape` where there is one, else `dims`.
        optional: `optional: true`: requests may leave the input out.
        ragged: `allow_ragged_batch: true`: the requests of one batch may differ in shape.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]
    optional: bool = False
    ragged: bool = False


@dataclass(frozen=True)
class SequenceControl:
    """One control of `sequence_batching.control_input`: an input that Triton fills in itself."""

    name: str
    data_type: str


@dataclass(frozen=True)
class BatchInput:
    """One entry of `batch_input`: a tensor made of the shapes of the batch's requests."""

    kind: str
    targets: tuple[str, ...]
    data_type: str
    source: str


@dataclass(frozen=True)
class BatchOutput:
    """One entry of `batch_output`: a flat output, cut up by the shapes of the batch's requests."""

    kind: str
    targets: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class ModelConfig:
    """What a backend decides by.

    Attributes:
        name: The model's name.
        max_batch_size: 0 where the model does not batch.
        inputs: In the order of config.pbtxt.
        outputs: In the order of config.pbtxt.
        controls: The controls of a sequence model.
        states: The names of the implicit states of a sequence model.
        batch_inputs: The `batch_input` entries.
        batch_outputs: The `batch_output` entries.
        parameters: `parameters`, key to `string_value`.
        raw: The whole configuration.
    """

    name: str
    max_batch_size: int
    inputs: tuple[TensorConfig, ...] = ()
    outputs: tuple[TensorConfig, ...] = ()
    controls: tuple[SequenceControl, ...] = ()
    states: tuple[str, ...] = ()
    batch_inputs: tuple[BatchInput, ...] = ()
    batch_outputs: tuple[BatchOutput, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def batches(self) -> bool:
        """Whether the first dimension of every tensor is the batch."""
        return self.max_batch_size > 0

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Reads `args["model_config"]` of `TritonPythonModel.initialize`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Reads a configuration that is already a dict, as in `auto_complete_config`."""
        sequence = raw.get("sequence_batching", {})
        return cls(
            name=raw.get("name", ""),
            max_batch_size=int(raw.get("max_batch_size", 0)),
            inputs=tuple(_tensor(entry) for entry in raw.get("input", [])),
            outputs=tuple(_tensor(entry) for entry in raw.get("output", [])),
            controls=tuple(_controls(sequence)),
            states=tuple(entry.get("output_name", "") for entry in sequence.get("state", [])),
            batch_inputs=tuple(_batch_input(entry) for entry in raw.get("batch_input", [])),
            batch_outputs=tuple(_batch_output(entry) for entry in raw.get("batch_output", [])),
            parameters={key: value.get("string_value", "") for key, value in raw.get("parameters", {}).items()},
            raw=raw,
        )

    def instances(self) -> int:
        """How many instances of this model run on this host: each is a process of its own with its own threads."""
        groups = self.raw.get("instance_group", [])
        return max(1, sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", []))) for group in groups))


def _tensor(entry: Mapping[str, Any]) -> TensorConfig:
    dims = entry["reshape"].get("shape", []) if "reshape" in entry else entry.get("dims", [])
    return TensorConfig(
        name=entry["name"],
        data_type=entry.get("data_type", "TYPE_INVALID"),
        shape=tuple(int(dim) for dim in dims),
        optional=bool(entry.get("optional", False)),
        ragged=bool(entry.get("allow_ragged_batch", False)),
    )


def _controls(sequence: Mapping[str, Any]) -> list[SequenceControl]:
    return [
        SequenceControl(entry["name"], _control_data_type(control))
        for entry in sequence.get("control_input", [])
        for control in entry.get("control", [])
    ]


def _control_data_type(control: Mapping[str, Any]) -> str:
    """Start, end and ready name their type by their pair of values; the correlation id has `data_type`."""
    for values, data_type in (
        ("int32_false_true", "TYPE_INT32"),
        ("fp32_false_true", "TYPE_FP32"),
        ("bool_false_true", "TYPE_BOOL"),
    ):
        if control.get(values):
            return data_type
    return str(control.get("data_type", "TYPE_INVALID"))


def _batch_input(entry: Mapping[str, Any]) -> BatchInput:
    return BatchInput(entry["kind"], tuple(entry["target_name"]), entry["data_type"], entry["source_input"][0])


def _batch_output(entry: Mapping[str, Any]) -> BatchOutput:
    return BatchOutput(entry["kind"], tuple(entry["target_name"]), entry["source_input"][0])
