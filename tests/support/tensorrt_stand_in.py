"""A stand-in for TensorRT's module and for a GPU's memory, which no machine without a GPU has.

It answers `deserialize_cuda_engine`, execution contexts and streams with TensorRT's own names and rules: an engine of
input x FP32 [-1, 3] and output y FP32 [-1, 3] that doubles, with two optimization profiles. It computes through the
addresses that were set, so that a wrong one is seen.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

GOOD = b"an engine"
STREAM = 7
PROFILES = [((1, 3), (1, 3), (2, 3)), ((1, 3), (8, 3), (8, 3))]


class Buffer:
    """Memory with an address."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def data_ptr(self) -> int:
        """The address."""
        return int(self.array.ctypes.data)


class HostMemory:
    """The GPU's memory, on the host."""

    stream = STREAM

    def __init__(self) -> None:
        self.is_current = False
        self.waits = 0

    @contextmanager
    def current(self) -> Iterator[None]:
        """Marks that the device is set."""
        self.is_current = True
        yield
        self.is_current = False

    def upload(self, array: Any) -> Buffer:
        """A copy."""
        assert self.is_current
        return Buffer(array.copy())

    def empty(self, shape: tuple[int, ...], data_type: str) -> Buffer:
        """Room for FP32."""
        assert data_type == "TYPE_FP32"
        return Buffer(np.full(shape, np.nan, dtype=np.float32))

    def download(self, buffer: Buffer, shape: tuple[int, ...]) -> Any:
        """What was written."""
        return buffer.array.reshape(shape)

    def wait(self) -> None:
        """Counts."""
        self.waits += 1


class ILogger:
    """As TensorRT's."""

    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)


class Context:
    """As IExecutionContext."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.fails = False

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        """Remembers it."""
        assert stream == STREAM
        self.profile = number
        return number < len(PROFILES)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Refuses what the profile does not hold."""
        low, _, high = PROFILES[self.profile]
        self.shapes[name] = shape
        return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """The output's is the input's."""
        assert name == "y"
        return self.shapes["x"]

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Remembers it."""
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        """Doubles what lies at the input's address."""
        assert stream == STREAM
        if self.fails:
            self.logger.log(ILogger.Severity.ERROR, "out of memory")
            return False
        size = int(np.prod(self.shapes["x"]))
        x, y = (
            np.ctypeslib.as_array((ctypes.c_float * size).from_address(self.addresses[name])) for name in ("x", "y")
        )
        y[:] = 2 * x
        return True


class Engine:
    """As ICudaEngine."""

    num_io_tensors = 2
    num_optimization_profiles = len(PROFILES)

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.contexts: list[Context] = []
        self.dtype = "FLOAT"

    def get_tensor_name(self, index: int) -> str:
        """x, then y."""
        return ("x", "y")[index]

    def get_tensor_mode(self, name: str) -> str:
        """INPUT or OUTPUT."""
        return {"x": "INPUT", "y": "OUTPUT"}[name]

    def get_tensor_dtype(self, name: str) -> Any:
        """One type for both."""
        return SimpleNamespace(name=self.dtype)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """With the batch open."""
        return (-1, 3)

    def get_tensor_profile_shape(self, name: str, number: int) -> list[tuple[int, ...]]:
        """Least, best and largest; only inputs have them."""
        assert name == "x"
        return list(PROFILES[number])

    def is_shape_inference_io(self, name: str) -> bool:
        """None is."""
        return False

    def create_execution_context(self) -> Context:
        """A new one."""
        self.contexts.append(Context(self.logger))
        return self.contexts[-1]


class Library:
    """As the module `tensorrt`."""

    __version__ = "10.13.3"
    ILogger = ILogger
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.dtype = "FLOAT"

    def Runtime(self, logger: Any) -> Any:  # noqa: N802 - as TensorRT calls it
        """Deserializes GOOD, and complains of anything else."""

        def deserialize(data: bytes) -> Engine | None:
            if data != GOOD:
                logger.log(ILogger.Severity.WARNING, "a warning")
                logger.log(ILogger.Severity.ERROR, "Version tag does not match.\nExpected 241, got 239")
                return None
            self.engine = Engine(logger)
            self.engine.dtype = self.dtype
            return self.engine

        return SimpleNamespace(deserialize_cuda_engine=deserialize)
