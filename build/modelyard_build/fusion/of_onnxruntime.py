"""What ONNX Runtime made of a graph: the session's own optimised graph, saved and counted."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime

from modelyard_build.errors import ArtefactFailed
from modelyard_build.fusion import patterns

# The operators that stand for a fused pattern. For the others, what is left of the pattern is counted.
_FUSED = {
    "attention": ("Attention", "MultiHeadAttention", "QAttention", "GroupQueryAttention"),
    "skip_layer_norm": ("SkipLayerNormalization",),
    "bias_gelu": ("BiasGelu", "FastGelu"),
    "quantised_product": ("QLinearMatMul", "MatMulIntegerToFloat", "QGemm", "QLinearConv", "ConvInteger"),
}
REASONS = {
    "attention": "ONNX Runtime knows attention in the form that another exporter wrote",
    "quantised_product": "ONNX Runtime has int8 kernels for a MatMul whose dequantised input nothing else reads; a "
    "convolution needs a quantised answer for it, a Gemm a bias of int32",
}


def done(path: Path, expected: dict[str, list[patterns.Members]]) -> tuple[dict[str, int], Counter[str]]:
    """How many of the expected patterns were fused, by name; and the operators of the optimised graph."""
    optimised = _optimised(path)
    counts = Counter(node.op_type for node in optimised.graph)
    left = {name: len(members) for name, members in patterns.found(optimised).items()}
    fused = {
        name: sum(counts[op] for op in _FUSED[name]) if name in _FUSED else len(members) - left.get(name, 0)
        for name, members in expected.items()
    }
    return fused, counts


def _optimised(path: Path) -> ir.Model:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        target = Path(folder, "optimised.onnx")
        options.optimized_model_filepath = str(target)
        # Weights go into a file of their own, which is never read: graphs above 2 GiB could not be saved otherwise.
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.data")
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's exceptions have no common base of their own.
            raise ArtefactFailed(
                f"ONNX Runtime {onnxruntime.__version__} does not load {path.name}: {error}"
            ) from error
        return ir.from_proto(onnx.load(target, load_external_data=False))
