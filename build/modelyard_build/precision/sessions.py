"""ONNX graphs run exactly as written, on the CPU: the numbers of the graph, not of a runtime's rewriting of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxruntime

from modelyard_build import graph_files
from modelyard_build.model import Arrays
from modelyard_build.precision.errors import PrecisionFailed


class Session:
    """Runs one graph, without fusions: every node computes, in the order and the type in which it stands."""

    def __init__(self, proto: onnx.ModelProto, outputs: Sequence[str] = ()) -> None:
        """Loads the graph.

        Args:
            proto: the graph.
            outputs: values to return, inner ones too; the graph's own outputs where empty.

        Raises:
            PrecisionFailed: onnxruntime does not load it.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
            path = Path(folder, "model.onnx")
            graph_files.save(_with_outputs(proto, outputs) if outputs else proto, path)
            try:
                self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            except Exception as error:
                # onnxruntime's exceptions have no common base of their own.
                raise PrecisionFailed(
                    f"ONNX Runtime {onnxruntime.__version__} does not load the graph as converted: {error}"
                ) from error
        self.outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Runs one batch."""
        return dict(zip(self.outputs, self._session.run(self.outputs, inputs), strict=True))


def _with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The same graph with inner values as its outputs; their types are inferred on loading."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy
