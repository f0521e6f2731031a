"""Runs an engine in this process, on the first GPU, with PyTorch's CUDA tensors as buffers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Arrays
from modelyard_build.tensorrt_engine.library import Library
from modelyard_build.tensorrt_engine.profiles import Profile, Shapes
from modelyard_build.tensorrt_engine.watchers import make_logger

_TORCH_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


def nearest_profile(profiles: Sequence[Profile], shapes: Mapping[str, Sequence[int]]) -> int | None:
    """Which profile Triton would take: of those that hold the shapes, the one with the nearest optimum."""
    fitting = [index for index, profile in enumerate(profiles) if _holds(profile, shapes)]
    return min(fitting, key=lambda index: _distance(profiles[index], shapes), default=None)


def _holds(profile: Profile, shapes: Mapping[str, Sequence[int]]) -> bool:
    return all(
        low <= size <= high
        for name, bounds in profile.inputs.items()
        for low, size, high in zip(bounds.min, shapes[name], bounds.max, strict=True)
    )


def _distance(profile: Profile, shapes: Mapping[str, Sequence[int]]) -> int:
    return sum(
        abs(size - opt)
        for name, bounds in profile.inputs.items()
        for size, opt in zip(shapes[name], bounds.opt, strict=True)
    )


class Runner:
    """A loaded engine."""

    def __init__(self, library: Library, path: Path) -> None:
        self._trt: Any = importlib.import_module(library.module)
        self._logger = make_logger(self._trt)
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            reason = " ".join(self._logger.errors[:3])
            raise ArtefactFailed(
                f"{library.title} {self._trt.__version__} does not load {path.name}: {reason} "
                "An engine loads in the version that built it, on the compute capability it was built for."
            )
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._is_input(name)]
        self._outputs = [name for name in names if not self._is_input(name)]
        self._profiles = [self._profile(index) for index in range(self._engine.num_optimization_profiles)]

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT)

    def _profile(self, index: int) -> Profile:
        shapes = {name: self._engine.get_tensor_profile_shape(name, index) for name in self._inputs}
        return Profile({name: Shapes(*(tuple(bound) for bound in bounds)) for name, bounds in shapes.items()})

    def __call__(self, inputs: Arrays) -> Arrays:
        """Runs one batch; every tensor has the batch as its first dimension.

        Raises:
            ArtefactFailed: no profile holds the shapes, or the engine failed.
        """
        run, outputs = self.prepare(inputs)
        run()
        return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}

    def prepare(self, inputs: Arrays) -> tuple[Callable[[], None], dict[str, Any]]:
        """Puts a batch on the GPU.

        Returns:
            What runs it, as often as it is called, until the answers are there; and the tensors they are in.

        Raises:
            ArtefactFailed: no profile holds the shapes.
        """
        import torch

        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            self._context.set_optimization_profile_async(self._profile_for(inputs), stream.cuda_stream)
            buffers = {name: torch.from_numpy(np.ascontiguousarray(inputs[name])).cuda() for name in self._inputs}
            for name, tensor in buffers.items():
                self._context.set_input_shape(name, tuple(tensor.shape))
            outputs = {name: self._output(torch, name) for name in self._outputs}
            for name, tensor in {**buffers, **outputs}.items():
                self._context.set_tensor_address(name, tensor.data_ptr())
        stream.synchronize()

        def run(held: dict[str, Any] = buffers) -> None:
            # The engine has only the addresses: the buffers live as long as what runs on them.
            if not self._context.execute_async_v3(stream.cuda_stream):
                raise ArtefactFailed(f"the engine did not run: {' '.join(self._logger.errors[:3])}")
            stream.synchronize()

        return run, outputs

    def _profile_for(self, inputs: Arrays) -> int:
        index = nearest_profile(self._profiles, {name: inputs[name].shape for name in self._inputs})
        if index is None:
            shapes = ", ".join(f"{name} {list(inputs[name].shape)}" for name in self._inputs)
            raise ArtefactFailed(f"no optimization profile of the engine holds {shapes}.")
        return index

    def _output(self, torch: Any, name: str) -> Any:
        dtype = getattr(torch, _TORCH_DTYPES[self._engine.get_tensor_dtype(name).name])
        return torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=dtype, device="cuda")
