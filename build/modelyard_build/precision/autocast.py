"""An ONNX graph in float16 or bfloat16, with the nodes that cannot bear it left in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from modelyard_build.precision import calibration, casting, choosing, constants, overflow, sites
from modelyard_build.precision.converted import Converted
from modelyard_build.precision.rounding import local_errors
from modelyard_build.precision.yardstick import MARGIN, Yardstick
from modelyard_build.quality import Quality
from modelyard_build.targets.target import Source

TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")


def autocast(precision: str, path: Path, source: Source, quality: Quality) -> Converted:
    """Puts every node into the 16-bit type, except those that overflow there, vanish there, or cost too much.

    Args:
        precision: "fp16" or "bf16".
        path: the float32 graph.
        source: the model, for its real inputs.
        quality: what the converted graph must hold.

    Raises:
        CalibrationRefused: the model's inputs are no use.
        PrecisionFailed: nothing can be cast within the quality.
    """
    model = ir.load(path)
    sites.name_nodes(model.graph)
    with source.progress.step(source.model.name, "run the float32 graph on real inputs"):
        data = calibration.real_inputs(source)
        yardstick = Yardstick(source.model, ir.to_proto(model), data.held_out, quality)
    return cast_graph(precision, model, source, data, yardstick, MARGIN)


def cast_graph(
    precision: str, model: ir.Model, source: Source, data: calibration.Calibration, yardstick: Yardstick, bound: float
) -> Converted:
    """The same for a graph at hand, which may be quantised already.

    Args:
        precision: "fp16" or "bf16".
        model: the graph, its nodes named; constants beyond the type are clamped in it.
        source: where progress is shown.
        data: real inputs.
        yardstick: measures against the float32 graph.
        bound: how much of the allowed error may be used up.

    Raises:
        PrecisionFailed: nothing can be cast within the bound.
    """
    low = TYPES[precision]
    few = data.seen[:: calibration.FEW]
    with source.progress.step(source.model.name, f"find what {precision} cannot hold"):
        clamped = constants.clamp(model, few, low)
        whole = ir.to_proto(model)
        types = casting.value_types(whole)
        unfit = constants.out_of_range(model, low) | {
            found.node: str(found) for found in overflow.find(model, types, data.seen, low)
        }
    able = casting.castable(model, types, low)
    fit = [node for node in able if node not in unfit]

    def build(kept: Sequence[str]) -> onnx.ModelProto:
        copy = ir.from_proto(whole)
        casting.cast(copy, types, low, set(fit) - set(kept))
        return ir.to_proto(copy)

    def rank() -> list[str]:
        # Sums, norms and activations first: they cost little in float32, and the products keep the gain.
        errors = local_errors(model, types, low, set(fit), few)
        products = set(_products(model))
        return sorted(fit, key=lambda node: (node in products, -errors.get(node, 0.0)))

    def emulate(kept: Sequence[str]) -> onnx.ModelProto:
        return casting.emulated(build(kept))

    kept, found = choosing.Choice(precision, fit, rank, emulate, yardstick, source, bound).choose()
    reasons = {node: reason for node, reason in unfit.items() if node in able} | dict.fromkeys(kept, "costs accuracy")
    report = {
        "precision": precision,
        "method": "Cast nodes; inputs and outputs keep their types",
        "inputs": {"from": data.origin, "items": data.items, "sizes": [dict(size) for size in data.sizes]},
        "cast_nodes": len(fit) - len(kept),
        "kept_nodes": reasons,
        "clamped_constants": clamped,
        "search": choosing.steps(found),
        "margin": bound,
        "share_of_products_kept": _share_of_products(model, reasons),
    }
    return Converted(build(kept), report)


def _products(model: ir.Model) -> list[str]:
    return [str(node.name) for node in model.graph if node.op_type in _PRODUCTS]


def _share_of_products(model: ir.Model, kept: Mapping[str, Any]) -> float:
    """How many of the matrix products and convolutions stay in float32, of 1."""
    products = _products(model)
    return round(sum(name in kept for name in products) / len(products), 4) if products else 0.0
