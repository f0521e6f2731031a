"""How each site is quantised: its scale, and how far outliers move from the activation into the weights.

A few channels of a transformer's activations are a hundred times larger than the rest, and one scale for all of them
leaves the rest no bits. Dividing each channel by a factor and multiplying the weights' rows by it changes nothing in
real numbers and evens the two out (SmoothQuant, Xiao et al. 2022). How strongly is tried at each site on its own: the
least error of the worst row wins, because it is the worst row that a verification sees.

An image has thousands of places, and no answer hangs on one of them: convolutions go by the mean error, for which the
rarest values may be clipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from modelyard_build.precision.formats import INT8, UINT8, Format
from modelyard_build.precision.ranges import Observed
from modelyard_build.precision.sessions import Session
from modelyard_build.precision.sites import Floats, Layer, Site

_TINY = np.float32(1e-12)
# How much of the range that was seen a convolution keeps.
_CLIPS = (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2)


@dataclass(frozen=True, eq=False)
class Scheme:
    """The quantisation of one site.

    Attributes:
        site: where.
        format: int8 or fp8, of the weights.
        activation: the same, or uint8, of what the site reads.
        smoothing: what each input channel is divided by before it is quantised; None: nothing.
        scale: the activation's, a scalar.
        alpha: the strength that `smoothing` was made with; 0 for none.
        error: the squared error of the layer's answer in units of the mean squared answer; see above.
        multiply_adds: of its layers, over all calibration items.
    """

    site: Site
    format: Format
    activation: Format
    smoothing: Floats | None
    scale: Floats
    alpha: float
    error: float
    multiply_adds: float

    def weights(self, layer: Layer) -> tuple[Floats, Floats]:
        """A layer's weights with the smoothing in them, and the scale of each output channel, broadcastable."""
        return _weights(layer, self.smoothing, self.format)


def choose(
    sites: Sequence[Site], observed: Mapping[str, Observed], numbers: Format, unsigned: bool = False
) -> list[Scheme]:
    """The best scheme of each site on its own, in the order of the sites.

    Args:
        sites: where.
        observed: what each reads.
        numbers: int8 or fp8.
        unsigned: whether activations that are never negative may be uint8, which TensorRT does not take.
    """
    return [_best(site, observed[site.activation], numbers, unsigned) for site in sites]


def _best(site: Site, seen: Observed, numbers: Format, unsigned: bool) -> Scheme:
    convolved = site.op_type == "Conv"
    activation = UINT8 if unsigned and numbers is INT8 and seen.smallest >= 0 else numbers
    tries: list[tuple[float, Floats | None, float]] = [(0.0, None, clip) for clip in (_CLIPS if convolved else (1.0,))]
    tries += [(alpha, _smoothing(site, seen, alpha), 1.0) for alpha in (() if convolved else numbers.alphas)]
    sample = seen.sample
    bench = [_Bench(layer, sample) for layer in site.layers]
    work = sum(layer.multiply_adds for layer in bench) * seen.elements
    schemes = []
    for alpha, smoothing, clip in tries:
        scale = _scale(seen.largest * np.float32(clip), smoothing, activation)
        values = sample if smoothing is None else sample / smoothing
        rounded = activation.rounded(values, scale)
        error = max(layer.error(rounded, smoothing, numbers) for layer in bench)
        schemes.append(Scheme(site, numbers, activation, smoothing, scale, alpha, error, work))
    return min(schemes, key=lambda scheme: scheme.error)


class _Bench:
    """One layer alone, without its bias, and its exact answer to a sample."""

    def __init__(self, layer: Layer, sample: Floats) -> None:
        self._layer = layer
        self._axis = 1 if layer.op_type == "Conv" else -1
        self._run = _layer_session(layer, sample.ndim)
        self._exact = self._run({"x": sample, "w": layer.weight})["y"]
        self._signal = float(np.square(self._exact, dtype=np.float64).sum(self._axis).mean())
        # Multiplications for each number that is read.
        each = float(np.prod(layer.weight.shape[1:])) if layer.op_type == "Conv" else sample.shape[-1]
        self.multiply_adds = each * self._exact.size / sample.size

    def error(self, rounded: Floats, smoothing: Floats | None, numbers: Format) -> float:
        """The squared error of the worst row, of convolutions the mean, in units of the mean squared row."""
        weight, scale = _weights(self._layer, smoothing, numbers)
        answer = self._run({"x": rounded, "w": numbers.rounded(weight, scale)})["y"]
        squared: Floats = np.square(answer - self._exact, dtype=np.float64).sum(self._axis)
        return float(squared.mean() if self._layer.op_type == "Conv" else squared.max()) / max(self._signal, 1e-30)


def _scale(largest: Floats, smoothing: Floats | None, numbers: Format) -> Floats:
    """Of a row nothing that was seen is clipped: clipping saves the mean error and spoils the rows that stand out."""
    top = (largest if smoothing is None else largest / smoothing).max()
    return np.asarray(np.maximum(top / numbers.largest, _TINY), np.float32)


def _smoothing(site: Site, seen: Observed, alpha: float) -> Floats:
    by_row = [np.abs(np.moveaxis(layer.weight, layer.channel_axis, -1)).max(-1) for layer in site.layers]
    weights = np.maximum(np.max(by_row, axis=0), 1e-5)
    factors = np.maximum(seen.largest, 1e-5) ** alpha / weights ** (1 - alpha)
    # Their geometric mean is taken out, so that the scales stay of the size of the values.
    result: Floats = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
    return result


def _weights(layer: Layer, smoothing: Floats | None, numbers: Format) -> tuple[Floats, Floats]:
    weight = layer.weight
    if smoothing is not None:
        weight = weight * np.expand_dims(smoothing, layer.channel_axis)
    others = tuple(axis for axis in range(weight.ndim) if axis != layer.channel_axis)
    scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True) / np.float32(numbers.largest), _TINY)
    return weight, scale.astype(np.float32)


def _layer_session(layer: Layer, rank: int) -> Session:
    """The layer alone: `x` and `w` in, `y` out, without its bias."""
    node = helper.make_node(layer.op_type, ["x", "w"], ["y"])
    node.attribute.extend(_attribute_protos(layer))
    floats = onnx.TensorProto.FLOAT
    x, w = (
        helper.make_tensor_value_info(name, floats, [None] * dims)
        for name, dims in (("x", rank), ("w", layer.weight.ndim))
    )
    graph = helper.make_graph([node], "layer", [x, w], [onnx.ValueInfoProto(name="y")])
    return Session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), ["y"])


def _attribute_protos(layer: Layer) -> list[onnx.AttributeProto]:
    return [ir.serde.serialize_attribute(attribute) for attribute in layer.attributes]
