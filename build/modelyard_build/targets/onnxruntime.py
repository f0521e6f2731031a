"""Triton's onnxruntime backend: the ONNX graph as it is, in a file called model.onnx."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from modelyard_build.errors import ExportFailed
from modelyard_build.model import Arrays

FILENAME = "model.onnx"


def write(proto: onnx.ModelProto, folder: Path) -> Path:
    """Saves the graph under the name that the backend looks for."""
    path = folder / FILENAME
    onnx.save(proto, path)
    return path


class Runner:
    """Runs the artefact in this process, on the CPU, as the backend does."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's exceptions have no common base of their own.
            raise ExportFailed(f"ONNX Runtime {onnxruntime.__version__} does not load {path.name}: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Runs one batch; every tensor has the batch as its first dimension."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
