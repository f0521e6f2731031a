"""config.pbtxt files for the models of `onnx_models`, and requests to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient import grpc

ONE_INSTANCE = "instance_group [ { count: 1 kind: KIND_CPU } ]"
# Long enough for requests that are sent at once to meet in one batch; a full batch does not wait.
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 2000000 }"
COMPLETED = f'platform: "onnxruntime_onnx"\n{ONE_INSTANCE}'


def tensors(field: str, **entries: str) -> str:
    """An `input` or `output` list: ``x="TYPE_FP32 dims: [ 3 ]"``."""
    return "\n".join(f'{field} [ {{ name: "{name}" data_type: {rest} }} ]' for name, rest in entries.items())


def config(*lines: str, max_batch_size: int = 8, instances: str = ONE_INSTANCE, backend: str = "onnxruntime") -> str:
    """A config.pbtxt."""
    return "\n".join([f'backend: "{backend}"', f"max_batch_size: {max_batch_size}", instances, *lines])


def parameters(**values: str) -> str:
    """The `parameters` of a config.pbtxt."""
    return "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in values.items()
    )


def infer_input(name: str, array: npt.NDArray[Any], datatype: str) -> Any:
    """One input of a request."""
    tensor = grpc.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def floats(name: str, values: Any) -> Any:
    """A FP32 input."""
    return infer_input(name, np.array(values, dtype=np.float32), "FP32")


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Future[Any]]:
    """Makes all calls at the same time; returns their futures, all done."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [pool.submit(call) for call in calls]
