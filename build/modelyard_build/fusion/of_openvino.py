"""What OpenVINO made of a graph: the layers that the CPU plugin executes, and which nodes went into each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import openvino

from modelyard_build.errors import ArtefactFailed
from modelyard_build.fusion import patterns
from modelyard_build.openvino_core import core

# The norm and the sum before it are kernels of their own in the CPU plugin: no fusion is to be expected.
NOT_FUSED = {"skip_layer_norm"}
_PRODUCTS = {"FullyConnected", "MatMul", "Convolution"}
_LARGE = {*_PRODUCTS, "ScaledDotProductAttention", "Subgraph", "MHA"}


@dataclass(frozen=True)
class Layer:
    """One executed layer.

    Attributes:
        kind: its type, such as "FullyConnected".
        precision: in what it computes, such as "bf16" or "i8".
        nodes: the names of the graph's nodes that it does the work of.
    """

    kind: str
    precision: str
    nodes: frozenset[str]

    def does(self, name: str) -> bool:
        """Whether a node's work is part of it; rewritten ones keep the old name in front, as in `MatMul_3/Multiply`."""
        return any(node == name or node.startswith(f"{name}/") for node in self.nodes)


def layers(path: Path, properties: Mapping[str, str]) -> list[Layer]:
    """The layers that are executed on this CPU, constants left out.

    Raises:
        ArtefactFailed: OpenVINO does not load the artefact.
    """
    try:
        compiled = core().compile_model(path, "CPU", dict(properties))
    except RuntimeError as error:
        raise ArtefactFailed(f"OpenVINO {openvino.__version__} does not load {path.name}: {error}") from error
    infos = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
    read = [
        [info[key].astype(str) for key in ("layerType", "runtimePrecision", "originalLayersNames")] for info in infos
    ]
    return [
        Layer(kind, precision, frozenset(names.split(",")))
        for kind, precision, names in read
        if kind not in ("Const", "Input", "Output")
    ]


def done(executed: Sequence[Layer], found: Mapping[str, Sequence[patterns.Members]], model: ir.Model) -> dict[str, int]:
    """How many of the patterns found in a graph were fused, by name."""
    # What makes an output of the graph is called after it.
    made = {value.producer(): str(value.name) for value in model.graph.outputs}
    called = {str(node.name): name for node, name in made.items() if node is not None}
    return {
        name: sum(_fused(name, [called.get(member, member) for member in members], executed) for members in instances)
        for name, instances in found.items()
    }


def _fused(name: str, members: Sequence[str], executed: Sequence[Layer]) -> bool:
    """Whether one kernel does the work of all members; of a quantised product, whether it does so in 8 bits."""
    # A convolution whose batch norm is folded in goes by another name.
    asked = members[:1] if name.startswith("conv_") else members
    of = [layer for layer in executed if all(layer.does(member) for member in asked)]
    if name == "quantised_product":
        return any(layer.kind in _PRODUCTS and layer.precision in ("i8", "u8") for layer in of)
    return any(layer.kind in _LARGE for layer in of)


def summary(executed: Sequence[Layer]) -> dict[str, int]:
    """How many layers of each type and precision there are, such as {"FullyConnected i8": 24}."""
    return dict(Counter(f"{layer.kind} {layer.precision}" for layer in executed if layer.kind in _LARGE))
