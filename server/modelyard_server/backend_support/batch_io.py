"""`batch_input` and `batch_output`: tensors made of, and cut up by, the shapes of the requests in one batch.

Triton leaves both to the backend. The kinds are those of `ModelConfig.BatchInput` and `BatchOutput` in
``model_config.proto``; what each holds follows triton-inference-server/backend
(`BackendInputCollector::ProcessBatchInput`, `BackendOutputResponder::ProcessBatchOutput`). Shapes here are whole: the
request's own batch dimension is first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.model_config import BatchInput, BatchOutput, ModelConfig

Shape = tuple[int, ...]
Shapes = Sequence[Shape]
Array = npt.NDArray[Any]

_NUMPY_TYPES = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32}


def batch_input(entry: BatchInput, shapes: Shapes) -> Array:
    """The tensor that a `batch_input` entry describes.

    Args:
        entry: The entry; `data_type` is TYPE_FP32 or TYPE_INT32.
        shapes: The shape of the source input in each request of the batch.
    """
    return np.asarray(_KINDS[entry.kind](shapes), dtype=_NUMPY_TYPES[entry.data_type])


def check_batch_io(config: ModelConfig) -> None:
    """Refuses kinds, data types and sources that are not known.

    Raises:
        ModelLoadError: With the entry and what it may be.
    """
    known = {tensor.name: tensor.shape for tensor in config.inputs}
    for entry in config.batch_inputs:
        _check_one_of(f"batch_input '{entry.targets[0]}': kind", entry.kind, _KINDS)
        _check_one_of(f"batch_input '{entry.targets[0]}': data_type", entry.data_type, _NUMPY_TYPES)
        _check_one_of(f"batch_input '{entry.targets[0]}': source_input", entry.source, known)
    shapes = {tensor.name: tensor.shape for tensor in config.outputs}
    for output in config.batch_outputs:
        _check_one_of("batch_output: target_name", output.targets[0], shapes)
        _check_one_of(f"batch_output '{output.targets[0]}': source_input", output.source, known)
        if -1 in shapes[output.targets[0]][len(known[output.source]) :]:
            raise ModelLoadError(
                f"batch_output '{output.targets[0]}' has a dynamic dimension for which its source_input "
                f"'{output.source}' has none: mend the dims in config.pbtxt"
            )


def scatter(entry: BatchOutput, shape: Shape, output: Array, shapes: Shapes) -> list[Array]:
    """Cuts a flat output into one tensor a request (BATCH_SCATTER_WITH_INPUT_SHAPE).

    Args:
        entry: The entry.
        shape: The output's shape in config.pbtxt, the batch dimension included; each -1 takes the size that the
            source input has at the same place.
        output: What the run gave, of any shape.
        shapes: The shape of the source input in each request of the batch.

    Raises:
        ExecutionError: The output holds too few elements.
    """
    flat = output.reshape(-1)
    wanted = [tuple(source[axis] if size == -1 else size for axis, size in enumerate(shape)) for source in shapes]
    ends = list(accumulate(math.prod(each) for each in wanted))
    if ends[-1] > flat.size:
        raise ExecutionError(
            f"output '{entry.targets[0]}' has {flat.size} elements, but the shapes of input '{entry.source}' in this "
            f"batch ask for {ends[-1]}"
        )
    return [flat[end - math.prod(each) : end].reshape(each) for end, each in zip(ends, wanted, strict=True)]


def _element_counts(shapes: Shapes) -> list[int]:
    return [math.prod(shape) for shape in shapes]


def _item_shapes(shapes: Shapes) -> Array:
    """One row a batch item: its shape without the batch dimension."""
    rows = [shape[1:] for shape in shapes for _ in range(shape[0])]
    return np.array(rows).reshape(len(rows), len(shapes[0]) - 1)


_KINDS: dict[str, Callable[[Shapes], Any]] = {
    "BATCH_ELEMENT_COUNT": _element_counts,
    "BATCH_ACCUMULATED_ELEMENT_COUNT": lambda shapes: list(accumulate(_element_counts(shapes))),
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": lambda shapes: [0, *accumulate(_element_counts(shapes))],
    # Described by its shape alone; the values mean nothing.
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda shapes: np.zeros(max(_element_counts(shapes))),
    "BATCH_ITEM_SHAPE": _item_shapes,
    "BATCH_ITEM_SHAPE_FLATTEN": lambda shapes: _item_shapes(shapes).reshape(-1),
}


def _check_one_of(what: str, value: str, known: Any) -> None:
    if value not in known:
        raise ModelLoadError(f"{what} is '{value}', expected one of {', '.join(sorted(known))}: mend config.pbtxt")
