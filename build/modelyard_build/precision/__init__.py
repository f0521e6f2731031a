"""The precision of an ONNX graph: float32 in, the same graph in float16, bfloat16, int8 or fp8 out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelyard_build.precision.errors import PrecisionFailed

if TYPE_CHECKING:
    from modelyard_build.precision.converted import Converted
    from modelyard_build.quality import Quality
    from modelyard_build.targets.target import Source


def convert(precision: str, graph: Path, source: Source, quality: Quality) -> Converted:
    """Converts a graph; its inputs and outputs keep their types.

    Args:
        precision: "fp16" or "bf16"; "int8" in float32, for CPUs; "int8-fp16" or "fp8" in float16, for GPUs.
        graph: the float32 graph.
        source: the model; 8 bits take their ranges from its calibration data.
        quality: how far the converted graph may be from the float32 one.

    Raises:
        CalibrationRefused: the calibration data is missing or no use.
        PrecisionFailed: the graph cannot be put into the precision within the quality.
    """
    from modelyard_build.precision.autocast import TYPES, autocast
    from modelyard_build.precision.formats import FP8, INT8
    from modelyard_build.precision.quantise import quantise

    eight_bits = {"int8": (INT8, "fp32"), "int8-fp16": (INT8, "fp16"), "fp8": (FP8, "fp16")}
    if precision in eight_bits:
        return quantise(*eight_bits[precision], graph, source, quality)
    if precision in TYPES:
        return autocast(precision, graph, source, quality)
    raise PrecisionFailed(f"precision {precision!r} is not known; known are {', '.join([*TYPES, *eight_bits])}.")
