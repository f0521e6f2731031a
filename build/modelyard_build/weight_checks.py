"""What of a graph can be held against the module without running either: its weights, and its epsilons.

Answers show only what examples reach. A row of an embedding that no example looks up, or an epsilon that matters to a
row without variance, is compared here.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from torch import nn

from modelyard_build.errors import ExportFailed
from modelyard_build.model import Model

# What every normalisation of ONNX takes for an attribute that is absent.
ONNX_EPSILON = 1e-5


def check_weights(model: Model, module: nn.Module, proto: onnx.ModelProto) -> None:
    """Holds every weight that stands in the graph under its own name against the module's, bit for bit.

    Weights that the exporter transposed or merged have other names; answers depend on each of them.

    Raises:
        ExportFailed: naming the weight and how many of its elements differ.
    """
    weights = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    found = ir.from_proto(proto).graph.initializers
    for name in sorted(weights.keys() & found.keys()):
        expected, stored = weights[name].detach().numpy(), found[name].const_value
        actual = stored.numpy() if stored is not None else np.empty(0)
        # Another shape or dtype is another form of the weight, which answers depend on.
        if actual.shape != expected.shape or actual.dtype != expected.dtype:
            continue
        if not np.array_equal(actual, expected):
            raise ExportFailed(
                f"{model.name}: weight {name!r} of the graph differs from the module's in "
                f"{int((actual != expected).sum())} of {actual.size} elements. Something changed it after PyTorch "
                "wrote it: export again."
            )


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
