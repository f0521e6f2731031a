"""What the rules about scheduling share: which scheduler a config has."""

from __future__ import annotations

from modelyard_build.repository.lint.subjects import Config

# Backends that compute a whole graph at once, so that a batch costs less than its requests one by one.
GRAPH_BACKENDS = frozenset({"onnxruntime", "openvino", "pytorch", "tensorrt", "tensorrt_rtx"})


def scheduler(config: Config) -> str:
    """`dynamic_batching`, `sequence_batching`, `ensemble_scheduling`, or nothing."""
    return config.message.WhichOneof("scheduling_choice") or ""


def batches_dynamically(config: Config) -> bool:
    """Whether Triton joins requests of the model into batches."""
    return scheduler(config) == "dynamic_batching" and config.message.max_batch_size > 1
