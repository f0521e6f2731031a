"""The onnxruntime backend of the embedded Triton, in place of the container's C++ one.

Triton's Python stub imports this file for every model whose config.pbtxt says ``backend: "onnxruntime"`` or
``platform: "onnxruntime_onnx"``. The same configurations, parameters and artefacts are accepted, and what the container
refuses is refused here, with the reason in words.

Threads: where config.pbtxt sets no `intra_op_thread_count` (or 0), an instance gets the cores that this process may use
(affinity and CPU quota) divided by the number of the model's instances, at least one; `inter_op_thread_count` likewise.
ONNX Runtime's own default is all cores for each instance, and instances here are processes: Triton starts two for an
onnxruntime model on the CPU when config.pbtxt has no instance_group. A value that is given always wins. Threads that
wait for work do not spin, see `settings.NO_SPINNING`.

What differs from the container, and cannot be otherwise:

* instances do not share a session (`share_session_between_instances` is accepted and has no effect);
* the server's ``--backend-config=onnxruntime,…`` does not reach a Python-based backend;
* implicit sequence state is refused, as Triton does not keep it for Python-based backends;
* TYPE_BF16 is served, with a warning: the container's backend refuses it;
* a string that is not UTF-8 is refused: ONNX Runtime's Python API takes text.
"""

from __future__ import annotations

from pathlib import Path

from modelyard_server.backend_support.autocomplete import Completion, complete, needs_completion
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.packages import require_package
from modelyard_server.backend_support.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """One instance of an ONNX model."""

    @staticmethod
    def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
        """Opens the session."""
        require_package("onnxruntime", "onnxruntime", extra="server")
        from modelyard_server.backends.onnxruntime.loading import load

        return load(config, version_folder, placement)

    @staticmethod
    def complete(config: ModelConfig, version_folder: Path) -> Completion | None:
        """By the graph, where inputs or outputs are missing."""
        if not needs_completion(config):
            return None
        require_package("onnxruntime", "onnxruntime", extra="server")
        from modelyard_server.backends.onnxruntime.loading import read_signature

        return complete(config, read_signature(config, version_folder))
