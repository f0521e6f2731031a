"""Operators that onnx's reference evaluator computes too slowly in Python, or not at all.

Convolutions and poolings are PyTorch's, in the type of their input. What the evaluator does not know, such as the
fused operators of com.microsoft, is computed by ONNX Runtime node by node, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx.reference.op_run import OpRun
from torch.nn import functional

from modelyard_build.model import Array

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def _to_torch(array: Array) -> torch.Tensor:
    """Sums of 16-bit products are kept in float32, as hardware keeps them."""
    wide = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    return torch.from_numpy(np.require(wide, requirements=["C", "W"]))


@dataclass(frozen=True)
class Window:
    """What slides over an image.

    Attributes:
        kernel: its size.
        strides: how far it moves.
        dilations: the distance of its elements.
        pads: of every spatial dimension, first all beginnings, then all ends, as ONNX has it.
        whole: the same, with what a last window needs that reaches beyond the image (ceil_mode).
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]
    whole: list[int]

    @classmethod
    def of(cls, options: Mapping[str, Any], shape: Sequence[int], kernel: Sequence[int]) -> Window:
        """The window of a node's attributes over an image of a shape."""
        ones = [1] * len(kernel)
        strides, dilations = list(options.get("strides") or ones), list(options.get("dilations") or ones)
        reaches = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
        pads = _pads(options, shape, reaches, strides)
        whole = _with_last(pads, shape, reaches, strides) if options.get("ceil_mode") else pads
        return cls(list(kernel), strides, dilations, pads, whole)


def _pads(
    options: Mapping[str, Any], shape: Sequence[int], reaches: Sequence[int], strides: Sequence[int]
) -> list[int]:
    auto = options.get("auto_pad")
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        return list((auto != "VALID" and options.get("pads")) or [0] * 2 * len(shape))
    totals = [
        max(0, (-(-size // stride) - 1) * stride + reach - size)
        for size, reach, stride in zip(shape, reaches, strides, strict=True)
    ]
    return _halves(totals, larger_last=auto == "SAME_UPPER")


def _halves(totals: Sequence[int], *, larger_last: bool) -> list[int]:
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*small, *large] if larger_last else [*large, *small]


def _with_last(pads: list[int], shape: Sequence[int], reaches: Sequence[int], strides: Sequence[int]) -> list[int]:
    """A window that begins within the image counts, also where it ends beyond the padding."""
    rank, whole = len(shape), list(pads)
    for at in range(rank):
        length = shape[at] + pads[at] + pads[at + rank]
        count = -(-(length - reaches[at]) // strides[at]) + 1
        if (count - 1) * strides[at] >= shape[at] + pads[at]:
            count -= 1
        whole[at + rank] += max(0, (count - 1) * strides[at] + reaches[at] - length)
    return whole


def _padded(tensor: torch.Tensor, pads: Sequence[int], value: float) -> torch.Tensor:
    rank = len(pads) // 2
    # PyTorch begins with the last dimension.
    pairs = [pad for at in reversed(range(rank)) for pad in (pads[at], pads[at + rank])]
    return functional.pad(tensor, pairs, value=value) if any(pads) else tensor


class Conv(OpRun):
    """A convolution."""

    def _run(self, x: Array, w: Array, b: Array | None = None, **options: Any) -> tuple[Array]:
        rank = x.ndim - 2
        window = Window.of(options, x.shape[2:], w.shape[2:])
        found = _CONVOLUTIONS[rank](
            _padded(_to_torch(x), window.pads, 0.0),
            _to_torch(w),
            None if b is None else _to_torch(b),
            stride=window.strides,
            dilation=window.dilations,
            groups=options.get("group") or 1,
        )
        return (found.numpy().astype(x.dtype),)


class ConvTranspose(OpRun):
    """A transposed convolution: computed without padding, then cut."""

    def _run(self, x: Array, w: Array, b: Array | None = None, **options: Any) -> tuple[Array]:
        rank = x.ndim - 2
        window = Window.of({**options, "auto_pad": ""}, x.shape[2:], w.shape[2:])
        more = list(options.get("output_padding") or [0] * rank)
        found = _TRANSPOSED[rank](
            _to_torch(x),
            _to_torch(w),
            stride=window.strides,
            dilation=window.dilations,
            groups=options.get("group") or 1,
        )
        wanted = _wanted(options, x.shape[2:], window)
        lacking = [max(0, size - has) for size, has in zip(wanted, found.shape[2:], strict=True)] if wanted else more
        found = _padded(found, [0] * rank + lacking, 0.0)
        around = _cut(options, window, found.shape[2:], wanted)
        cut = [slice(None), slice(None)]
        cut += [slice(around[at], size - around[at + rank]) for at, size in enumerate(found.shape[2:])]
        found = found[tuple(cut)]
        if b is not None:
            found = found + _to_torch(b).reshape(1, -1, *[1] * rank)
        return (np.ascontiguousarray(found.numpy()).astype(x.dtype),)


def _wanted(options: Mapping[str, Any], shape: Sequence[int], window: Window) -> list[int]:
    """The size that a transposed convolution is to have; empty where its padding says it."""
    if options.get("output_shape"):
        return list(options["output_shape"])[-len(shape) :]
    if options.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER"):
        return [size * stride for size, stride in zip(shape, window.strides, strict=True)]
    return []


def _cut(options: Mapping[str, Any], window: Window, whole: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """How much of a transposed convolution falls away at each beginning and end."""
    if not wanted:
        return window.pads
    totals = [size - kept for size, kept in zip(whole, wanted, strict=True)]
    return _halves(totals, larger_last=options.get("auto_pad") == "SAME_UPPER")


class MaxPool(OpRun):
    """The largest of each window."""

    def _run(self, x: Array, **options: Any) -> tuple[Array]:
        window = Window.of(options, x.shape[2:], options["kernel_shape"])
        padded = _padded(_to_torch(x), window.whole, -math.inf)
        found = _MAX_POOLS[x.ndim - 2](padded, window.kernel, window.strides, 0, window.dilations)
        return (found.numpy().astype(x.dtype),)


class AveragePool(OpRun):
    """The mean of each window."""

    def _run(self, x: Array, **options: Any) -> tuple[Array]:
        window = Window.of(options, x.shape[2:], options["kernel_shape"])
        counted = torch.ones((1, 1, *x.shape[2:]), dtype=torch.float64)
        counted = _padded(counted, window.pads, 1.0 if options.get("count_include_pad") else 0.0)
        beyond = [after - before for before, after in zip(window.pads, window.whole, strict=True)]
        counts = _window_sums(_padded(counted, beyond, 0.0), window)
        values = _to_torch(x)
        sums = _window_sums(_padded(values, window.whole, 0.0), window)
        return ((sums / counts.to(values.dtype)).numpy().astype(x.dtype),)


def _window_sums(tensor: torch.Tensor, window: Window) -> torch.Tensor:
    """Sums over windows of one to three dimensions; one or two are a flat case of three."""
    flat = [1] * (3 - len(window.kernel))
    shaped = tensor.reshape(*tensor.shape[:2], *flat, *tensor.shape[2:])
    sums = functional.avg_pool3d(shaped, flat + window.kernel, flat + window.strides, divisor_override=1)
    return sums.reshape(*tensor.shape[:2], *sums.shape[2 + len(flat) :])


def operator_of(node: onnx.NodeProto) -> type[OpRun] | None:
    """Our own form of a node's operator; None where the evaluator's is as good, or the only one."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "MaxPool" and len(node.output) == 1:
        return MaxPool
    dilated = "dilations" in attributes and max(attributes["dilations"].ints, default=1) > 1
    if node.op_type == "AveragePool" and not dilated:
        return AveragePool
    return {"Conv": Conv, "ConvTranspose": ConvTranspose}.get(node.op_type)


class ByRuntime(OpRun):
    """One node, computed by ONNX Runtime in float32."""

    def __init__(self, node: onnx.NodeProto, run_params: dict[str, Any], *rest: Any) -> None:
        self._run_opsets = [onnx.helper.make_opsetid(*item) for item in run_params["opsets"].items()]
        self._sessions: dict[tuple[np.dtype[Any], ...], onnxruntime.InferenceSession] = {}
        super().__init__(node, run_params, *rest)

    def _run(self, *inputs: Array | None, **attributes: Any) -> tuple[Array, ...]:
        """Attributes are in the node already."""
        given = [array for array in inputs if array is not None]
        wide = any(array.dtype == np.float64 for array in given)
        narrow = [array.astype(np.float32) if array.dtype == np.float64 else array for array in given]
        key = tuple(array.dtype for array in narrow)
        if key not in self._sessions:
            self._sessions[key] = self._session(inputs, narrow)
        session = self._sessions[key]
        names = [value.name for value in session.get_inputs()]
        found = session.run(None, dict(zip(names, narrow, strict=True)))
        named = dict(zip([value.name for value in session.get_outputs()], found, strict=True))
        # An output that the node leaves out has no name, and nobody reads it.
        answers = [named.get(name, np.empty(0)) for name in self.onnx_node.output]
        return tuple(array.astype(np.float64) if wide and array.dtype == np.float32 else array for array in answers)

    def _session(self, inputs: Sequence[Array | None], narrow: Sequence[Array]) -> onnxruntime.InferenceSession:
        node = onnx.NodeProto()
        node.CopyFrom(self.onnx_node)
        node.input[:] = [f"input_{at}" if array is not None else "" for at, array in enumerate(inputs)]
        present = [name for name in node.input if name]
        values = [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim
            )
            for name, array in zip(present, narrow, strict=True)
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", values, outputs)
        proto = onnx.helper.make_model(graph, opset_imports=self._run_opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
