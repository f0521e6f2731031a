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
        precision: "fp16", "bf16", "int8" or "fp8".
        graph: the float32 graph.
        source: the model; int8 and fp8 take their ranges from its calibration data.
        quality: how far the converted graph may be from the float32 one.

    Raises:
        CalibrationRefused: the calibration data is missing or no use.
        PrecisionFailed: the graph cannot be put into the precision within the quality.
    """
    from modelyard_build.precision.autocast import TYPES, autocast
    from modelyard_build.precision.formats import FP8, INT8
    from modelyard_build.precision.quantise import quantise

    formats = {"int8": INT8, "fp8": FP8}
    if precision in formats:
        return quantise(formats[precision], graph, source, quality)
    if precision in TYPES:
        return autocast(precision, graph, source, quality)
    raise PrecisionFailed(f"precision {precision!r} is not known; known are fp16, bf16, int8 and fp8.")
