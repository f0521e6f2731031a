"""An engine, loaded and ready to run: the one place that calls TensorRT or TensorRT-RTX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from modelyard_server.backend_support.batching import Array, Tensors
from modelyard_server.backend_support.errors import BackendError, ExecutionError, ModelLoadError
from modelyard_server.backend_support.signature import ArtefactTensor, Signature, show_dims
from modelyard_server.backend_support.tensorrt_engine.contract import Bindings
from modelyard_server.backend_support.tensorrt_engine.lock import Host, load_failure, read_lock
from modelyard_server.backend_support.tensorrt_engine.profiles import Bounds, Profile, choose_profile

# https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/infer/FoundationalTypes/DataType.html
_DATA_TYPES = {
    "FLOAT": "TYPE_FP32",
    "HALF": "TYPE_FP16",
    "BF16": "TYPE_BF16",
    "INT8": "TYPE_INT8",
    "UINT8": "TYPE_UINT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "BOOL": "TYPE_BOOL",
}


class Memory(Protocol):
    """The memory that a batch lies in while an engine runs; see `memory.DeviceMemory`."""

    stream: int

    def current(self) -> Any:
        """Within it, everything goes to this device."""

    def upload(self, array: Array) -> Any:
        """The array on the device."""

    def empty(self, shape: tuple[int, ...], data_type: str) -> Any:
        """Room for a tensor."""

    def download(self, buffer: Any, shape: tuple[int, ...]) -> Array:
        """The tensor as an array."""

    def wait(self) -> None:
        """Waits until the device is done."""


class Engine:
    """A deserialized engine.

    Args:
        trt: The library's module.
        path: The file.
        name: What messages call it.
        host: What is to run it.
        memory: Of the GPU.

    Attributes:
        bindings: What the engine says of itself.

    Raises:
        ModelLoadError: The library does not load it, or it has a tensor that Triton has no data type for.
    """

    def __init__(self, trt: Any, path: Path, name: str, host: Host, memory: Memory) -> None:
        self._trt, self._name, self._memory = trt, name, memory
        self._logger = _logger(trt)
        # TensorRT-RTX has no plugins.
        if hasattr(trt, "init_libnvinfer_plugins"):
            trt.init_libnvinfer_plugins(self._logger, "")
        self._runtime = trt.Runtime(self._logger)
        with memory.current():
            self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise ModelLoadError(load_failure(name, host, read_lock(path), self._logger.errors))
        self._contexts: dict[int, Any] = {}
        self._profiles: dict[int, Profile] = {}
        self.bindings = self._bindings()

    def open(self, profiles: Sequence[int]) -> None:
        """Makes a context for each of these profiles.

        Raises:
            ModelLoadError: There is too little memory for it.
        """
        with self._memory.current():
            for number in profiles:
                context = self._engine.create_execution_context()
                if context is None or not context.set_optimization_profile_async(number, self._memory.stream):
                    raise ModelLoadError(f"{self._name}: no context for optimization profile {number}: {self._said()}")
                self._memory.wait()
                self._contexts[number] = context
                self._profiles[number] = self.bindings.profiles[number]

    def run(self, outputs: Sequence[str], inputs: Tensors) -> Sequence[Array]:
        """Runs the profile that fits best.

        Raises:
            ExecutionError: No profile holds the shapes, or the engine failed.
        """
        number = choose_profile(self._profiles, {name: array.shape for name, array in inputs.items()})
        self._logger.errors.clear()
        try:
            with self._memory.current():
                return self._execute(self._contexts[number], outputs, inputs)
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - the library and PyTorch raise whatever CUDA raises
            raise ExecutionError(f"{self._name}: {' '.join(str(error).split())}") from None

    def _execute(self, context: Any, outputs: Sequence[str], inputs: Tensors) -> list[Array]:
        buffers = {name: self._memory.upload(array) for name, array in inputs.items()}
        for name, array in inputs.items():
            if not context.set_input_shape(name, tuple(array.shape)):
                raise ExecutionError(f"input '{name}' of shape {show_dims(array.shape)} is refused: {self._said()}")
        shapes = {name: self._output_shape(context, name) for name in self.bindings.signature.outputs}
        for name, shape in shapes.items():
            buffers[name] = self._memory.empty(shape, self.bindings.signature.outputs[name].data_type)
        for name, buffer in buffers.items():
            context.set_tensor_address(name, buffer.data_ptr())
        if not context.execute_async_v3(self._memory.stream):
            raise ExecutionError(f"{self._name} did not run: {self._said()}")
        return [self._memory.download(buffers[name], shapes[name]) for name in outputs]

    def _output_shape(self, context: Any, name: str) -> tuple[int, ...]:
        shape = tuple(context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise ExecutionError(
                f"output '{name}' has shape {show_dims(shape)} before the engine runs: outputs whose shape depends on "
                "the data are not served by the embedded Triton"
            )
        return shape

    def _said(self) -> str:
        return " ".join(" ".join(self._logger.errors).split()) or "the library gives no reason"

    def _bindings(self) -> Bindings:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        tensors = {name: ArtefactTensor(self._data_type(name), self._dims(name)) for name in names}
        signature = Signature(
            self._name,
            {name: tensors[name] for name in inputs},
            {name: tensor for name, tensor in tensors.items() if name not in inputs},
        )
        shape_tensors = frozenset(name for name in names if self._engine.is_shape_inference_io(name))
        count = self._engine.num_optimization_profiles
        execution = [name for name in inputs if name not in shape_tensors]
        return Bindings(signature, [self._profile(execution, number) for number in range(count)], shape_tensors)

    def _dims(self, name: str) -> tuple[int, ...]:
        return tuple(self._engine.get_tensor_shape(name))

    def _data_type(self, name: str) -> str:
        dtype = self._engine.get_tensor_dtype(name).name
        if dtype not in _DATA_TYPES:
            raise ModelLoadError(f"'{name}' of {self._name} is {dtype}, for which Triton has no data type: cast it")
        return _DATA_TYPES[dtype]

    def _profile(self, inputs: Sequence[str], number: int) -> Profile:
        shapes = {name: self._engine.get_tensor_profile_shape(name, number) for name in inputs}
        return {name: Bounds(*(tuple(shape) for shape in three)) for name, three in shapes.items()}


def _logger(trt: Any) -> Any:
    """Keeps what the library complains of; its class can only be made with the library at hand."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the library has no types
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Logger()
