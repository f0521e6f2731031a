"""An ONNX graph in 8 bits: calibrated, and with the nodes that cannot bear it left in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import onnx
import onnx_ir as ir

from modelyard_build.precision import qdq, ranges, schemes, sensitivity, sites
from modelyard_build.precision.calibration import Calibration, gather
from modelyard_build.precision.converted import Converted
from modelyard_build.precision.errors import PrecisionFailed
from modelyard_build.precision.formats import Format
from modelyard_build.precision.schemes import Scheme
from modelyard_build.precision.yardstick import MARGIN, Yardstick
from modelyard_build.quality import Quality
from modelyard_build.targets.target import Source

Build: TypeAlias = Callable[[Sequence[Scheme]], onnx.ModelProto]


@dataclass(frozen=True)
class Ranked:
    """A site, and the error of the whole graph when this site alone is quantised, in units of what is allowed."""

    scheme: Scheme
    error: float


def quantise(numbers: Format, path: Path, source: Source, quality: Quality) -> Converted:
    """Quantises the layers with constant weights.

    Args:
        numbers: int8 or fp8.
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
        chosen = schemes.choose(found, observed, numbers)
        yardstick = Yardstick(source.model, float32, data.held_out, quality)

    def build(some: Sequence[Scheme]) -> onnx.ModelProto:
        copy = ir.from_proto(float32)
        qdq.insert(copy, some, observed)
        return ir.to_proto(copy)

    with source.progress.step(name, f"find which of {len(found)} sites {numbers.name} hurts"):
        ranked = _rank(chosen, build, yardstick)
    result = _search(ranked, build, yardstick, source)
    return Converted(build(_from(ranked, result.excluded)), _report(numbers, data, ranked, result))


def _load(path: Path, numbers: Format, name: str) -> ir.Model:
    model = ir.load(path)
    opset = model.opset_imports.get("", 0)
    if opset < numbers.min_opset:
        raise PrecisionFailed(
            f"{name}: the graph has opset {opset}; {numbers.name} needs {numbers.min_opset}. Declare a higher opset."
        )
    sites.name_nodes(model.graph)
    return model


def _sites(model: ir.Model, numbers: Format, name: str) -> list[sites.Site]:
    found = sites.find(model.graph)
    if not found:
        raise PrecisionFailed(
            f"{name}: the graph has no MatMul, Gemm or Conv with constant float32 weights; {numbers.name} would gain "
            "nothing. Leave it out."
        )
    return found


def _rank(chosen: Sequence[Scheme], build: Build, yardstick: Yardstick) -> list[Ranked]:
    """The worst first. A site's own error does not say what it does to the answer, so each is tried in the graph."""
    ranked = [Ranked(scheme, yardstick.quick_error(build([scheme]))) for scheme in chosen]
    return sorted(ranked, key=lambda item: -item.error)


def _from(ranked: Sequence[Ranked], kept: int) -> list[Scheme]:
    """What is quantised when the first of a ranking are kept."""
    return [item.scheme for item in ranked[kept:]]


def _search(ranked: Sequence[Ranked], build: Build, yardstick: Yardstick, source: Source) -> sensitivity.Search:
    name, precision, count = source.model.name, ranked[0].scheme.format.name, len(ranked)

    def measure(kept: int) -> float:
        with source.progress.step(name, f"measure {precision} with {kept} of {count} sites in float32"):
            error = yardstick.error(build(_from(ranked, kept)))
        source.progress.say(f"{name}: {precision} with {kept} of {count} sites in float32: {error:.2f} of allowed")
        return error

    result = sensitivity.search(count, measure, MARGIN)
    if result is None:
        raise PrecisionFailed(
            f"{name}: {precision} keeps the asked quality only when every site stays in float32. Look at the "
            "calibration data, or leave this precision out."
        )
    return result


def _report(numbers: Format, data: Calibration, ranked: Sequence[Ranked], result: sensitivity.Search) -> dict[str, Any]:
    kept = ranked[: result.excluded]
    left, whole = (sum(item.scheme.multiply_adds for item in some) for some in (kept, ranked))
    return {
        "precision": numbers.name,
        "method": "QuantizeLinear/DequantizeLinear, symmetric, one scale an activation and one an output channel",
        "calibration": {
            "items": data.items,
            "held_out_items": data.items,
            "sizes": [dict(size) for size in data.sizes],
        },
        "quantised_nodes": sum(len(item.scheme.site.nodes) for item in ranked[result.excluded :]),
        "kept_nodes": {node: float(f"{item.error:.3g}") for item in kept for node in item.scheme.site.nodes},
        "smoothed_sites": sum(item.scheme.smoothing is not None for item in ranked[result.excluded :]),
        "search": [{"kept_sites": count, "error_of_allowed": float(f"{error:.4g}")} for count, error in result.steps],
        "margin": MARGIN,
        "share_of_multiply_adds_kept": round(left / whole, 4),
    }
