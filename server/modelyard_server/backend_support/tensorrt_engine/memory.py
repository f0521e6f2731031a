"""The GPU's memory and one stream on it, through PyTorch's CUDA tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from modelyard_server.backend_support.batching import Array
from modelyard_server.backend_support.errors import ModelLoadError

# numpy has no bfloat16: its words go and come as uint16.
_STORED_AS = {
    "TYPE_FP32": "float32",
    "TYPE_FP16": "float16",
    "TYPE_BF16": "uint16",
    "TYPE_INT8": "int8",
    "TYPE_UINT8": "uint8",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_BOOL": "bool",
}


class DeviceMemory:
    """One GPU.

    Args:
        device_id: Its number.

    Attributes:
        compute_capability: Of the GPU, ``9.0``.
        name: Of the GPU.
        stream: The handle of the stream that everything runs on.

    Raises:
        ModelLoadError: PyTorch finds no such GPU.
    """

    def __init__(self, device_id: int) -> None:
        if device_id >= torch.cuda.device_count():
            raise ModelLoadError(
                f"torch {torch.__version__}, which holds an engine's inputs and outputs, finds no GPU {device_id}: "
                "install a CUDA build of torch"
            )
        self._device = torch.device("cuda", device_id)
        self.name = torch.cuda.get_device_name(self._device)
        self.compute_capability = ".".join(map(str, torch.cuda.get_device_capability(self._device)))
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # PyTorch does not type it
        self.stream: int = self._stream.cuda_stream

    @contextmanager
    def current(self) -> Iterator[None]:
        """Within it, copies and kernels go to this GPU and this stream."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            yield

    def upload(self, array: Array) -> Any:
        """The array on the GPU."""
        words = np.require(array, requirements=["C", "W"])
        return torch.from_numpy(words).to(self._device) if array.size else self.empty((1,), "TYPE_UINT8")

    def empty(self, shape: tuple[int, ...], data_type: str) -> Any:
        """Memory for a tensor; an engine wants an address even where there is nothing to write."""
        dtype = getattr(torch, _STORED_AS[data_type])
        return torch.empty(shape if 0 not in shape else (1,), dtype=dtype, device=self._device)

    def download(self, buffer: Any, shape: tuple[int, ...]) -> Array:
        """The tensor as an array; waits for it."""
        self._stream.synchronize()
        array: Array = buffer.cpu().numpy()
        return array if 0 not in shape else np.empty(shape, array.dtype)

    def wait(self) -> None:
        """Waits until the stream is done."""
        self._stream.synchronize()
