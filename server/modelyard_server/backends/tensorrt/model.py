"""The tensorrt backend of the embedded Triton, in place of the container's C++ one.

Triton's Python stub imports this file for every model whose config.pbtxt says ``backend: "tensorrt"`` or
``platform: "tensorrt_plan"``. It needs an NVIDIA GPU, the package tensorrt of the version that built the engine, and a
CUDA build of torch, whose tensors hold inputs and outputs. See `backend_support.tensorrt_engine`.

What differs from the container:

* a GPU that `cc_model_filenames` does not name is refused, where the container silently takes the default file;
* shape tensors, outputs whose shape depends on the data, and implicit sequence state are refused;
* inputs and outputs pass through the host's memory, and there are no CUDA graphs: the same answers, less speed.
"""

from __future__ import annotations

from pathlib import Path

from modelyard_server.backend_support.autocomplete import Completion
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.tensorrt_engine import loading
from modelyard_server.backend_support.tensorrt_engine.library import TENSORRT
from modelyard_server.backend_support.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """One instance of an engine."""

    @staticmethod
    def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
        """Deserializes the engine."""
        return loading.load(TENSORRT, config, version_folder, placement)

    @staticmethod
    def complete(config: ModelConfig, version_folder: Path) -> Completion | None:
        """By the engine, where an instance is on a GPU."""
        return loading.read_completion(TENSORRT, config, version_folder)
