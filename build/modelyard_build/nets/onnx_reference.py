"""An ONNX file as a PyTorch module: what the file means by ONNX's own definition, in float64 or in its own types.

It is what artefacts of an ONNX file are held against. Every operator is computed on its own, in the order of the file,
by onnx's reference evaluator; see `onnx_operators` for the few that are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import reference
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from modelyard_build.model import Array
from modelyard_build.nets import onnx_types
from modelyard_build.nets.onnx_operators import ByRuntime, operator_of

_HALVES = (torch.float16, torch.bfloat16)


class _Evaluator(reference.ReferenceEvaluator):
    """The evaluator with our operators, also within functions and the graphs of If and Loop."""

    def _load_impl(self, node: onnx.NodeProto, input_types: onnx.TypeProto | None = None) -> Any:
        try:
            return operator_of(node) or super()._load_impl(node, input_types)
        except NotImplementedError:
            return ByRuntime


class _Wide(_Evaluator):
    """An evaluator of what was widened, which widens what ONNX itself defines as functions of other operators."""

    def __init__(self, proto: Any, *rest: Any, **options: Any) -> None:
        if isinstance(proto, onnx.FunctionProto):
            proto = onnx_types.widened_function(proto)
        super().__init__(proto, *rest, **options)


class _Rounding(_Evaluator):
    """An evaluator that rounds what each node computes to a 16-bit type."""

    dtype: torch.dtype

    def _init(self) -> None:
        super()._init()
        self.rt_inits_ = {name: _rounded(array, self.dtype) for name, array in self.rt_inits_.items()}
        for node in self.rt_nodes_:
            node.run = _rounding(node.run, self.dtype)


class _Float16(_Rounding):
    dtype = torch.float16


class _BFloat16(_Rounding):
    dtype = torch.bfloat16


_EVALUATORS = {torch.float64: _Wide, torch.float32: _Evaluator, torch.float16: _Float16, torch.bfloat16: _BFloat16}


def _rounding(run: Any, dtype: torch.dtype) -> Any:
    def rounded(*inputs: Any, **options: Any) -> Any:
        return tuple(_rounded(value, dtype) for value in run(*inputs, **options))

    return rounded


def _rounded(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
        return value
    return torch.tensor(value).to(dtype).to(torch.float32).numpy().astype(value.dtype)


@dataclass(eq=False)
class _Graph:
    """A graph with its evaluators, each made when it is first needed; copies of a module share it.

    Attributes:
        proto: the graph, which nobody changes.
        shapes: of its inputs, by name: a size, or the name of one.
        dtypes: of its inputs.
        evaluators: by the type that is computed in.
    """

    proto: onnx.ModelProto
    shapes: dict[str, tuple[int | str, ...]]
    dtypes: dict[str, np.dtype[Any]]
    evaluators: dict[torch.dtype, _Evaluator] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Graph:
        return self

    def evaluator(self, dtype: torch.dtype) -> _Evaluator:
        if dtype not in self.evaluators:
            proto = onnx_types.widened(self.proto) if dtype == torch.float64 else self.proto
            self.evaluators[dtype] = _EVALUATORS[dtype](proto)
        return self.evaluators[dtype]


class OnnxReference(nn.Module):
    """The graph of an ONNX file.

    In float32, as it is made, it computes in the file's own types; `double()` computes everything in float64, and
    `to(torch.float16)` or `to(torch.bfloat16)` rounds what each operator gives.
    """

    def __init__(self, path: Path, rows: bool = False, numbers: Sequence[str] = ()) -> None:
        """Reads the file.

        Args:
            path: the file; weights outside of it lie beside.
            rows: the graph takes one item, with a first dimension of 1; each item of a batch is run on its own.
            numbers: inputs and outputs that are single numbers in the file, and here rows of one.
        """
        super().__init__()
        # Says in which type to compute, and follows double() and to().
        self.precision = nn.Parameter(torch.zeros(()), requires_grad=False)
        self._graph = _graph(onnx.load(path))
        self._rows = rows
        self._numbers = frozenset(numbers)
        self.eval()

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The graph's outputs in its order; floating-point ones in the module's type."""
        given = {name: value.squeeze(-1) if name in self._numbers else value for name, value in inputs.items()}
        answers = self._run_rows(given) if self._rows else self._run(given)
        names = [value.name for value in self._graph.proto.graph.output]
        return tuple(
            answer.unsqueeze(-1) if name in self._numbers else answer
            for name, answer in zip(names, answers, strict=True)
        )

    def _run_rows(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        count = len(next(iter(inputs.values())))
        answers = [self._run({name: value[at : at + 1] for name, value in inputs.items()}) for at in range(count)]
        return tuple(torch.cat(values) for values in zip(*answers, strict=True))

    def _run(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        arrays = {name: self._array(name, value) for name, value in inputs.items()}
        _check_shapes(self._graph.shapes, arrays)
        # Operators that PyTorch computes have the type of their input, whatever mode the caller is in.
        with np.errstate(all="ignore"), _disable_current_modes():
            found = self._graph.evaluator(self.precision.dtype).run(None, arrays)
        return tuple(self._tensor(value) for value in found)

    def _array(self, name: str, value: torch.Tensor) -> Array:
        """An input in the type that the graph takes, or in the wider one that it was given."""
        wide = value.float() if value.dtype in _HALVES else value
        array: Array = wide.detach().numpy()
        own = self._graph.dtypes[name]
        exact = self.precision.dtype == torch.float64 and array.dtype.kind == "f"
        return array.astype(np.float64) if exact else array.astype(own)

    def _tensor(self, value: Any) -> torch.Tensor:
        array = np.asarray(value)
        if array.dtype.kind in "iub" or array.dtype == np.float64:
            return torch.from_numpy(np.array(array))
        dtype = self.precision.dtype
        found = torch.from_numpy(array.astype(np.float32))
        return found.to(dtype) if dtype in _HALVES else found


def _graph(proto: onnx.ModelProto) -> _Graph:
    inner = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in inner]
    return _Graph(
        proto,
        {value.name: shape_of(value) for value in inputs},
        {
            value.name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
            for value in inputs
        },
    )


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    """The sizes of an input or output; the name of one that varies, "" where it has none."""
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims)


def _check_shapes(shapes: dict[str, tuple[int | str, ...]], arrays: dict[str, Array]) -> None:
    """The evaluator takes whatever comes; runtimes take what the file says."""
    known: dict[str, int] = {}
    for name, array in arrays.items():
        shape = shapes[name]
        fits = len(shape) == array.ndim and all(map(_fits(known), shape, array.shape))
        if not fits:
            raise ValueError(f"input {name!r} has shape {list(array.shape)}; the graph's is {_shown(shape, known)}")


def _fits(known: dict[str, int]) -> Any:
    def fits(wanted: int | str, size: int) -> bool:
        return size == (wanted if isinstance(wanted, int) else known.setdefault(wanted, size) if wanted else size)

    return fits


def _shown(shape: Sequence[int | str], known: dict[str, int]) -> list[int | str]:
    return [size if isinstance(size, int) else (f"{size} ({known[size]})" if size in known else size) for size in shape]
