"""An ONNX graph in 8 bits: calibrated, and with the nodes that cannot bear it left in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from modelyard_build.fusion.merging import JOINT, merge_products
from modelyard_build.precision import choosing, qdq, ranges, schemes, sites
from modelyard_build.precision.autocast import cast_graph
from modelyard_build.precision.calibration import Calibration, gather
from modelyard_build.precision.converted import Converted
from modelyard_build.precision.errors import PrecisionFailed
from modelyard_build.precision.formats import Format
from modelyard_build.precision.schemes import Scheme
from modelyard_build.precision.yardstick import MARGIN, Yardstick
from modelyard_build.quality import Quality
from modelyard_build.targets.target import Source

# How much of the allowed error may be used up when float16 comes on top.
_BOUND_WITH_HALF = 0.85


def quantise(numbers: Format, rest: str, path: Path, source: Source, quality: Quality) -> Converted:
    """Quantises the layers with constant weights.

    Args:
        numbers: int8 or fp8.
        rest: "fp32", or "fp16" for what is not quantised: GPUs gain nothing from 8 bits between float32 nodes.
        path: the float32 graph.
        source: the model, for its calibration data.
        quality: what the quantised graph must hold on calibration items that gave no range.

    Raises:
        CalibrationRefused: there is no calibration data that is any use.
        PrecisionFailed: nothing can be quantised within the quality.
    """
    name = source.model.name
    model = _load(path, numbers, name)
    found = _sites(model, numbers, name)
    float32 = ir.to_proto(model)
    with source.progress.step(name, f"calibrate {numbers.name}"):
        data = gather(source)
        observed = ranges.observe(float32, found, data.seen)
        chosen = schemes.choose(found, observed, numbers, unsigned=rest == "fp32")
        yardstick = Yardstick(source.model, float32, data.held_out, quality)

    def build(some: Sequence[Scheme]) -> onnx.ModelProto:
        copy = ir.from_proto(float32)
        qdq.insert(copy, some, observed)
        return ir.to_proto(copy)

    costs: dict[str, float] = {}

    def rank() -> list[Scheme]:
        # A site's own error does not say what it does to the answer, so each is tried in the graph, alone.
        costs.update({s.site.nodes[0]: yardstick.quick_error(build([s])) for s in chosen})
        return sorted(chosen, key=lambda scheme: -costs[scheme.site.nodes[0]])

    def without(kept: Sequence[Scheme]) -> onnx.ModelProto:
        return build([scheme for scheme in chosen if scheme not in kept])

    kept, search = choosing.Choice(numbers.name, chosen, rank, without, yardstick, source).choose()
    report = {
        **_report(numbers, data, chosen, kept),
        "kept_nodes": _kept_nodes(kept, costs),
        "search": choosing.steps(search),
    }
    quantised = Converted(without(kept), report)
    return quantised if rest == "fp32" else _halved(quantised, rest, source, data, yardstick)


def _halved(quantised: Converted, rest: str, source: Source, data: Calibration, yardstick: Yardstick) -> Converted:
    made = cast_graph(rest, ir.from_proto(quantised.proto), source, data, yardstick, _BOUND_WITH_HALF)
    return Converted(made.proto, {**quantised.report, "rest": made.report})


def _load(path: Path, numbers: Format, name: str) -> ir.Model:
    model = ir.load(path)
    opset = model.opset_imports.get("", 0)
    if opset < numbers.min_opset:
        raise PrecisionFailed(
            f"{name}: the graph has opset {opset}; {numbers.name} needs {numbers.min_opset}. Declare a higher opset."
        )
    sites.name_nodes(model.graph)
    merge_products(model.graph)
    return model


def _sites(model: ir.Model, numbers: Format, name: str) -> list[sites.Site]:
    found = sites.find(model.graph)
    if not found:
        raise PrecisionFailed(
            f"{name}: the graph has no MatMul, Gemm or Conv with constant float32 weights; {numbers.name} would gain "
            "nothing. Leave it out."
        )
    return found


def _kept_nodes(kept: Sequence[Scheme], costs: Mapping[str, float]) -> dict[str, float]:
    """What each node of the float32 graph would cost: the error with its site alone quantised, of what is allowed."""
    return {
        node: float(f"{costs[scheme.site.nodes[0]]:.3g}")
        for scheme in kept
        for joined in scheme.site.nodes
        for node in joined.split(JOINT)
    }


def _report(numbers: Format, data: Calibration, chosen: Sequence[Scheme], kept: Sequence[Scheme]) -> dict[str, Any]:
    left, whole = (sum(scheme.multiply_adds for scheme in some) for some in (kept, chosen))
    quantised = [scheme for scheme in chosen if scheme not in kept]
    return {
        "precision": numbers.name,
        "method": "QuantizeLinear/DequantizeLinear, symmetric, one scale an activation and one an output channel",
        "unsigned_activations": sum(scheme.activation is not scheme.format for scheme in quantised),
        "calibration": {
            "items": data.items,
            "held_out_items": data.items,
            "sizes": [dict(size) for size in data.sizes],
        },
        "quantised_nodes": sum(len(node.split(JOINT)) for scheme in quantised for node in scheme.site.nodes),
        "smoothed_places": sum(scheme.smoothing is not None for scheme in quantised),
        "margin": MARGIN,
        "share_of_multiply_adds_kept": round(left / whole, 4),
    }
