"""QuantizeLinear and DequantizeLinear around sites: what every runtime reads as "compute this in 8 bits".

    activation -> (Mul 1/smoothing) -> QuantizeLinear -> DequantizeLinear -> MatMul <- DequantizeLinear <- int8 weights

One scale for an activation, one for each output channel of a weight, zero points of 0: ONNX Runtime, OpenVINO and
TensorRT all take this form; uint8 activations, which have twice the steps behind a ReLU, are for CPUs alone. Biases,
sums, norms and attention stay in floating point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from modelyard_build.fusion.merging import add_constant, drop_unused
from modelyard_build.model import Array
from modelyard_build.precision.ranges import Observed
from modelyard_build.precision.schemes import Scheme
from modelyard_build.precision.sites import Floats, Layer


def insert(model: ir.Model, schemes: Iterable[Scheme], observed: Mapping[str, Observed]) -> None:
    """Quantises a graph in place.

    Args:
        model: the float32 graph, its nodes named.
        schemes: what is quantised, and how; every other node stays as it is.
        observed: what the activations looked like; the mean error of the weights goes into the biases.
    """
    nodes = {str(node.name): node for node in model.graph}
    for scheme in schemes:
        read = _quantised_activation(nodes[scheme.site.nodes[0]], scheme)
        for layer in scheme.site.layers:
            node = nodes[layer.node]
            node.replace_input_with(0, read)
            node.replace_input_with(1, _quantised_weight(node, layer, scheme))
            _correct_bias(node, layer, scheme, observed[scheme.site.activation].mean)
    drop_unused(model.graph)


def _quantised_activation(node: ir.Node, scheme: Scheme) -> ir.Value:
    value = node.inputs[0]
    name = f"{scheme.site.activation}.{scheme.site.op_type}"
    if scheme.smoothing is not None:
        factors = _constant(node, f"{name}.smoothing", 1 / scheme.smoothing)
        value = _before(node, "Mul", [value, factors], f"{name}.smoothed")
    scale = _constant(node, f"{name}.scale", scheme.scale)
    zero = _constant(node, f"{name}.zero_point", np.zeros((), scheme.activation.storage))
    stored = _before(node, "QuantizeLinear", [value, scale, zero], f"{name}.quantized")
    return _before(node, "DequantizeLinear", [stored, scale, zero], f"{name}.dequantized")


def _quantised_weight(node: ir.Node, layer: Layer, scheme: Scheme) -> ir.Value:
    weight, scale = scheme.weights(layer)
    name, channels = f"{layer.node}.weight", scale.reshape(-1)
    inputs = [
        _constant(node, f"{name}.quantized", scheme.format.store(weight, scale)),
        _constant(node, f"{name}.scale", channels),
        _constant(node, f"{name}.zero_point", np.zeros(channels.shape, scheme.format.storage)),
    ]
    return _before(node, "DequantizeLinear", inputs, f"{name}.dequantized", axis=layer.channel_axis)


def _correct_bias(node: ir.Node, layer: Layer, scheme: Scheme, mean: Floats) -> None:
    """Takes what the rounded weights add to the mean answer out of the bias that follows, where one does."""
    found = _bias_of(node)
    if found is None:
        return
    user, index, bias = found
    weight, scale = scheme.weights(layer)
    lost = weight - scheme.format.rounded(weight, scale)
    input_mean = mean if scheme.smoothing is None else mean / scheme.smoothing
    corrected = bias + _mean_answer(layer, input_mean, lost)
    user.replace_input_with(index, _constant(node, f"{layer.node}.bias.corrected", corrected.astype(np.float32)))


def _bias_of(node: ir.Node) -> tuple[ir.Node, int, Floats] | None:
    """The node that adds the bias, at which of its inputs, and the bias: [channels]."""
    if node.op_type in ("Conv", "Gemm"):
        user, index = node, 2
    else:
        uses = list(node.outputs[0].uses())
        if len(uses) != 1 or node.outputs[0].is_graph_output() or uses[0].node.op_type != "Add":
            return None
        user, index = uses[0].node, 1 - uses[0].idx
    value = user.inputs[index] if index < len(user.inputs) else None
    if value is None or value.const_value is None or len(value.const_value.shape) != 1:
        return None
    return user, index, np.asarray(value.const_value.numpy(), np.float32)


def _mean_answer(layer: Layer, mean: Floats, weight: Floats) -> Floats:
    """What a layer with these weights answers to the mean input, away from the borders."""
    if layer.op_type != "Conv":
        return np.asarray(np.tensordot(mean, weight, axes=(0, 1 - layer.channel_axis)), np.float32)
    summed = weight.reshape(*weight.shape[:2], -1).sum(-1)
    # With groups, output channel o reads the input channels of its own group.
    group_of = np.arange(len(summed)) * (len(mean) // weight.shape[1]) // len(summed)
    inputs = mean.reshape(-1, weight.shape[1])[group_of]
    return np.asarray((summed * inputs).sum(1), np.float32)


def _before(node: ir.Node, op_type: str, inputs: Sequence[ir.Value | None], name: str, **attributes: int) -> ir.Value:
    """A node in front of another; it and its value get the same name."""
    made = ir.node(op_type, inputs, attributes or None, name=name)
    made.outputs[0].name = name
    assert node.graph is not None  # noqa: S101  # the caller took it from a graph
    node.graph.insert_before(node, made)
    return made.outputs[0]


def _constant(node: ir.Node, name: str, array: Array) -> ir.Value:
    assert isinstance(node.graph, ir.Graph)  # noqa: S101  # the caller took it from a graph
    return add_constant(node.graph, name, np.asarray(array, order="C"))
