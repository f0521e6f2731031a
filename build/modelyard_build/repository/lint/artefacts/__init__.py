"""What an artefact's header says, read without the runtime that serves it: one reader for each backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard_build.repository.lint.artefacts.artefact import Artefact, Reader, TensorInfo
from modelyard_build.repository.lint.artefacts.onnx import read_onnx
from modelyard_build.repository.lint.artefacts.openvino import read_openvino
from modelyard_build.repository.lint.artefacts.plan import read_plan
from modelyard_build.repository.lint.artefacts.python import read_python
from modelyard_build.repository.lint.artefacts.pytorch import read_pytorch

__all__ = ["READERS", "Artefact", "Reader", "TensorInfo", "read_artefact"]

READERS: dict[str, Reader] = {
    "onnxruntime": read_onnx,
    "openvino": read_openvino,
    "python": read_python,
    "pytorch": read_pytorch,
    "tensorrt": read_plan,
    "tensorrt_rtx": read_plan,
}


def read_artefact(path: Path, backend: str, manifest: Mapping[str, Any]) -> Artefact:
    """What is known of a file that a backend serves; raises nothing."""
    reader = READERS.get(backend)
    if reader is None:
        return Artefact(path, problem=f"files of backend {backend!r} are not read")
    try:
        return reader(path, manifest)
    except OSError as error:
        return Artefact(path, problem=f"cannot be read: {error.strerror or error}")
