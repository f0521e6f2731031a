"""The tensorrt_rtx backend of the embedded Triton: engines of TensorRT-RTX.

Triton's container has no backend of this name, and its tensorrt backend does not read these engines. Triton's Python
stub imports this file for every model whose config.pbtxt says ``backend: "tensorrt_rtx"``; the fields are those of the
tensorrt backend, the default file is model.plan. It needs an NVIDIA GPU, the package tensorrt_rtx of the version that
built the engine, and a CUDA build of torch. See `backend_support.tensorrt_engine`.
"""

from __future__ import annotations

from pathlib import Path

from modelyard_server.backend_support.autocomplete import Completion
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.tensorrt_engine import loading
from modelyard_server.backend_support.tensorrt_engine.library import TENSORRT_RTX
from modelyard_server.backend_support.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """One instance of an engine."""

    @staticmethod
    def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
        """Deserializes the engine."""
        return loading.load(TENSORRT_RTX, config, version_folder, placement)

    @staticmethod
    def complete(config: ModelConfig, version_folder: Path) -> Completion | None:
        """By the engine, where an instance is on a GPU."""
        return loading.read_completion(TENSORRT_RTX, config, version_folder)
