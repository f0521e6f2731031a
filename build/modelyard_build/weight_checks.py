"""What of a graph can be held against the module without running either: its weights, and its epsilons.

Answers show only what examples reach. A row of an embedding that no example looks up, or an epsilon that matters to a
row without variance, is compared here.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from modelyard_build.errors import ExportFailed
from modelyard_build.model import Array, Model

# What every normalisation of ONNX takes for an attribute that is absent.
ONNX_EPSILON = 1e-5
# The layers that the exporter merges a batch norm into, and how far its products may be rounded.
_TAKE_BATCH_NORM = frozenset({"Conv", "ConvTranspose", "Gemm"})
_ROUNDING = 1e-5


def check_weights(model: Model, module: nn.Module, proto: onnx.ModelProto) -> None:
    """Holds every weight that stands in the graph under its own name against the module's, bit for bit.

    Weights that the exporter transposed or merged have other names; answers depend on each of them. Where it put a
    batch norm into the layer before it, the layer's weights are the module's times a number for each channel.

    Raises:
        ExportFailed: naming the weight and how many of its elements differ.
    """
    weights = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    graph = ir.from_proto(proto).graph
    found, scaled = graph.initializers, _before_batch_norms(module, graph)
    for name in sorted(weights.keys() & found.keys()):
        expected, stored = weights[name].detach().numpy(), found[name].const_value
        actual = stored.numpy() if stored is not None else np.empty(0)
        # Another shape or dtype is another form of the weight, which answers depend on.
        if actual.shape != expected.shape or actual.dtype != expected.dtype:
            continue
        if not np.array_equal(actual, expected) and not (name in scaled and _is_scaled(actual, expected)):
            raise ExportFailed(
                f"{model.name}: weight {name!r} of the graph differs from the module's in "
                f"{int((actual != expected).sum())} of {actual.size} elements. Something changed it after PyTorch "
                "wrote it: export again."
            )


def _before_batch_norms(module: nn.Module, graph: ir.Graph) -> set[str]:
    """The weights and biases into which the exporter may have put a batch norm."""
    if not any(isinstance(layer, _BatchNorm) or _calls_batch_norm(layer) for layer in module.modules()):
        return set()
    nodes = (node for node in graph if node.op_type in _TAKE_BATCH_NORM)
    return {value.name for node in nodes for value in node.inputs[1:] if value is not None and value.name}


def _calls_batch_norm(layer: nn.Module) -> bool:
    """Whether a layer is a graph of operators, as programs are, with a batch norm among them."""
    return isinstance(layer, fx.GraphModule) and any("batch_norm" in str(node.target) for node in layer.graph.nodes)


def _is_scaled(actual: Array, expected: Array) -> bool:
    """Whether each channel, along the first or the second dimension, is the expected one times a number.

    A bias, which is also shifted, has nothing to be held against.
    """
    return expected.ndim == 1 or any(
        _rows_are_scaled(np.moveaxis(actual, axis, 0), np.moveaxis(expected, axis, 0)) for axis in (0, 1)
    )


def _rows_are_scaled(actual: Array, expected: Array) -> bool:
    left, right = (array.reshape(len(array), -1).astype(np.float64) for array in (actual, expected))
    length = (right * right).sum(1)
    factors = np.divide((left * right).sum(1), length, out=np.zeros_like(length), where=length > 0)
    return np.allclose(left, right * factors[:, None], rtol=_ROUNDING, atol=_ROUNDING * float(np.abs(left).max()))


def check_epsilons(model: Model, module: nn.Module, proto: onnx.ModelProto) -> None:
    """Holds the epsilon of every normalisation in the graph against that of the module's layer.

    Raises:
        ExportFailed: naming the layer and both values.
    """
    layers = dict(module.named_modules())
    for node in proto.graph.node:
        if not node.op_type.endswith("Normalization"):
            continue
        name = node.input[1].rpartition(".")[0]
        expected = getattr(layers.get(name), "eps", None)
        found = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), ONNX_EPSILON)
        if expected is not None and np.float32(expected) != np.float32(found):
            raise ExportFailed(
                f"{model.name}: {node.op_type} of layer {name!r} has epsilon {found:.3g} in the graph; the module's is "
                f"{expected:.3g}. Something changed it after PyTorch wrote it: export again."
            )
