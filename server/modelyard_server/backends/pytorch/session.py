"""PyTorch as it is set up for one model, and tensors in and out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modelyard_server.backend_support.batching import Array
from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.instance import Placement
from modelyard_server.backends.pytorch.contract import DATA_TYPES
from modelyard_server.backends.pytorch.settings import Settings

_TRITON_TYPES = {getattr(torch, name): data_type for data_type, name in DATA_TYPES.items()}


def apply(settings: Settings) -> None:
    """Sets PyTorch up; an instance has its process for itself."""
    torch.set_num_threads(settings.intra_op_threads)
    if settings.inter_op_threads:
        torch.set_num_interop_threads(settings.inter_op_threads)
    torch.backends.cudnn.enabled = settings.cudnn
    torch.use_deterministic_algorithms(settings.deterministic)
    torch._C._set_graph_executor_optimize(settings.optimized_execution)
    for switch, value in (
        (torch._C._jit_set_profiling_mode, settings.jit_profiling),
        (torch._C._jit_set_profiling_executor, settings.jit_executor),
        (torch._C._jit_set_texpr_fuser_enabled, settings.tensor_fuser),
    ):
        if value is not None:
            switch(value)


def device_of(placement: Placement) -> torch.device | None:
    """Where the inputs go; None where the model itself says where it runs (KIND_MODEL).

    Raises:
        ModelLoadError: The GPU is not there for this PyTorch.
    """
    if placement.kind == "MODEL":
        return None
    if placement.kind == "GPU" and not torch.cuda.is_available():
        raise ModelLoadError(
            f"this instance is KIND_GPU, and torch {torch.__version__} finds no GPU: install a CUDA build of torch, or "
            "set instance_group [ { kind: KIND_CPU } ]"
        )
    return torch.device("cuda", placement.device_id) if placement.kind == "GPU" else torch.device("cpu")


def to_torch(array: Array, device: torch.device | None) -> Any:
    """A tensor that shares the array's memory on a CPU, or a list of str for strings."""
    if array.dtype == np.object_:
        return array.reshape(-1).tolist()
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return tensor if device is None else tensor.to(device)


def to_numpy(name: str, value: Any, data_type: str) -> Array:
    """An output as an array.

    Raises:
        ExecutionError: It is no tensor of the data type that config.pbtxt says, or a scalar.
    """
    if isinstance(value, list):
        return np.array([text.encode() for text in value], dtype=np.object_)
    if not isinstance(value, torch.Tensor):
        raise ExecutionError(f"output '{name}' is a {type(value).__name__}, expected a Tensor or a List[str]")
    found = _TRITON_TYPES.get(value.dtype, str(value.dtype))
    if found != data_type:
        raise ExecutionError(f"output '{name}' is {data_type} in config.pbtxt and {found} in the model: set {found}")
    if not value.dim():
        raise ExecutionError(f"output '{name}' is a scalar, which the pytorch backend does not serve")
    array: Array = value.detach().cpu().contiguous().numpy()
    return array


def pick(
    outputs: Sequence[str], results: Sequence[Any], places: Mapping[str, int], data_types: Mapping[str, str]
) -> list[Array]:
    """The outputs that were asked for, as arrays.

    Raises:
        ExecutionError: The model gave fewer outputs than config.pbtxt names, or one cannot be passed on.
    """
    missing = [name for name in outputs if places[name] >= len(results)]
    if missing:
        raise ExecutionError(
            f"output '{missing[0]}' is number {places[missing[0]]} of the model, which has {len(results)}: rename it "
            "to <name>__<index>, or list the outputs in the model's order"
        )
    return [to_numpy(name, results[places[name]], data_types[name]) for name in outputs]


def one_line(error: BaseException) -> str:
    """What PyTorch complains of, without the stack."""
    text = str(error).partition("Exception raised from")[0]
    return " ".join(text.rpartition("RuntimeError: ")[2].split())
