"""A config as Triton completes it on load, and where each of its settings is from.

The rules are those of Triton's `NormalizeModelConfig`, `SetDefaultInstanceCount` and the backends' autocompletion; a
live test holds them against what the server says of a loaded model.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelyard_build.repository.layout import BACKEND_OF_PLATFORM
from modelyard_build.repository.lint.artefacts import TensorInfo
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.model_config import ModelConfig, model_config_pb2
from modelyard_build.repository.text_format.binding import Path

# Triton's --backend-config=default-max-batch-size.
DEFAULT_MAX_BATCH_SIZE = 4
DEFAULT_SEQUENCE_IDLE_MICROSECONDS = 1_000_000
_PLATFORM_OF_BACKEND = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
# Backends that read inputs, outputs and the batch out of the artefact where the config leaves them out.
_AUTOCOMPLETING = ("onnxruntime", "openvino", "tensorrt", "pytorch")


class Origin(enum.Enum):
    """Where a setting is from."""

    WRITTEN = "written"
    DEFAULT = "default"
    AUTOCOMPLETED = "read from the artefact"


@dataclass(frozen=True)
class Effective:
    """A config as it will be used.

    Attributes:
        message: Triton's ModelConfig, completed.
        origins: of what the text does not state, by path; everything else is written.
        hints: what cannot be known without loading the model, for people.
    """

    message: Any
    origins: dict[Path, Origin]
    hints: list[str]

    def origin(self, path: Path) -> Origin:
        """Where the setting at a path is from: its own, or that of the message around it."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path[:-1]
        return Origin.WRITTEN


def effective(config: Config, has_gpu: bool) -> Effective:
    """Completes a config.

    Args:
        config: a valid one.
        has_gpu: whether the server will see a GPU.
    """
    message = ModelConfig()
    message.CopyFrom(config.message)
    found = Effective(message, {}, [])
    _identity(config, found)
    if not config.is_ensemble:
        _autocomplete(config, found)
        _instances(config, found, has_gpu)
        _batching(found)
    return found


def _identity(config: Config, found: Effective) -> None:
    message, origins = found.message, found.origins
    if not message.name:
        message.name = config.model.name
        origins["name",] = Origin.DEFAULT
    if not message.backend and message.platform in BACKEND_OF_PLATFORM:
        message.backend = BACKEND_OF_PLATFORM[message.platform]
        origins["backend",] = Origin.DEFAULT
    if not message.platform and message.backend in _PLATFORM_OF_BACKEND:
        message.platform = _PLATFORM_OF_BACKEND[message.backend]
        origins["platform",] = Origin.DEFAULT
    if not config.is_ensemble and not message.default_model_filename:
        message.default_model_filename = config.filename
        origins["default_model_filename",] = Origin.DEFAULT
    if not message.version_policy.WhichOneof("policy_choice"):
        message.version_policy.latest.num_versions = 1
        origins["version_policy",] = Origin.DEFAULT


def _autocomplete(config: Config, found: Effective) -> None:
    """What the backend fills in where inputs or outputs are left out; where both are listed it fills in nothing."""
    message = found.message
    if message.input and message.output:
        return
    if message.backend == "python":
        found.hints.append("model.py may complete the config in auto_complete_config; what it does is not known here.")
        return
    if message.backend not in _AUTOCOMPLETING or not config.artefacts:
        found.hints.append("Inputs or outputs are left out, and there is no artefact to read them from.")
        return
    _version, artefact = config.artefacts[-1]
    if artefact.inputs is None or artefact.outputs is None:
        found.hints.append(f"Inputs or outputs are left out, and {artefact.path.name} does not tell them.")
        return
    batches = _batches((*artefact.inputs, *artefact.outputs))
    if not message.max_batch_size and batches:
        message.max_batch_size = DEFAULT_MAX_BATCH_SIZE
        found.origins["max_batch_size",] = Origin.AUTOCOMPLETED
    for field, tensors in (("input", artefact.inputs), ("output", artefact.outputs)):
        if not getattr(message, field):
            found.origins[field,] = Origin.AUTOCOMPLETED
            _add_tensors(getattr(message, field), tensors, bool(message.max_batch_size))
    if message.max_batch_size > 1 and message.WhichOneof("scheduling_choice") is None:
        message.dynamic_batching.SetInParent()
        found.origins["dynamic_batching",] = Origin.AUTOCOMPLETED


def _batches(tensors: Iterable[TensorInfo]) -> bool:
    return all(tensor.shape and tensor.shape[0] == -1 for tensor in tensors)


def _add_tensors(into: Any, tensors: Iterable[TensorInfo], batched: bool) -> None:
    names = model_config_pb2.DataType.DESCRIPTOR.values_by_name
    for tensor in tensors:
        added = into.add(name=tensor.name)
        if tensor.dtype in names:
            added.data_type = names[tensor.dtype].number
        added.dims.extend((tensor.shape or ())[1 if batched else 0 :])


def _instances(config: Config, found: Effective, has_gpu: bool) -> None:
    message, origins = found.message, found.origins
    if not message.instance_group:
        message.instance_group.add(name=message.name)
        origins["instance_group",] = Origin.DEFAULT
    groups = model_config_pb2.ModelInstanceGroup
    for index, group in enumerate(message.instance_group):
        if not group.name:
            group.name = f"{message.name}_{index}"
            origins["instance_group", index, "name"] = Origin.DEFAULT
        if group.kind == groups.KIND_AUTO:
            group.kind = groups.KIND_GPU if has_gpu or group.gpus else groups.KIND_CPU
            if not config.states("instance_group", index, "kind"):
                origins["instance_group", index, "kind"] = Origin.DEFAULT
        if group.count < 1:
            on_cpu = group.kind == groups.KIND_CPU
            group.count = 2 if on_cpu and message.backend == "onnxruntime" else 1
            origins["instance_group", index, "count"] = Origin.DEFAULT


def _batching(found: Effective) -> None:
    message, origins = found.message, found.origins
    optimization = message.optimization
    for direction in ("input_pinned_memory", "output_pinned_memory"):
        if not optimization.HasField(direction):
            getattr(optimization, direction).enable = True
            origins["optimization", direction] = Origin.DEFAULT
    if message.HasField("dynamic_batching"):
        _prefer_the_largest(message.dynamic_batching, ("dynamic_batching",), found)
    if message.HasField("sequence_batching"):
        if not message.sequence_batching.max_sequence_idle_microseconds:
            message.sequence_batching.max_sequence_idle_microseconds = DEFAULT_SEQUENCE_IDLE_MICROSECONDS
            origins["sequence_batching", "max_sequence_idle_microseconds"] = Origin.DEFAULT
        if message.sequence_batching.HasField("oldest"):
            _prefer_the_largest(message.sequence_batching.oldest, ("sequence_batching", "oldest"), found)


def _prefer_the_largest(batcher: Any, path: Path, found: Effective) -> None:
    if not batcher.preferred_batch_size and found.message.max_batch_size > 0:
        batcher.preferred_batch_size.append(found.message.max_batch_size)
        stated = (*path, "preferred_batch_size")
        found.origins[stated] = Origin.DEFAULT
