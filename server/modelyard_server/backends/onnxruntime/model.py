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

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from modelyard_server.backend_support.autocomplete import apply, complete, needs_completion
from modelyard_server.backend_support.instance import Instance
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.packages import require_package


class TritonPythonModel:
    """One instance of an ONNX model; the methods are those that Triton calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Completes what config.pbtxt leaves out; called once a model, in a process of its own."""
        config = ModelConfig.from_dict(auto_complete_model_config.as_dict())
        if needs_completion(config):
            # Imported here, as a configuration that is complete need not wait for ONNX Runtime.
            require_package("onnxruntime", "onnxruntime", extra="server")
            from modelyard_server.backends.onnxruntime.loading import read_signature

            signature = read_signature(config, Path(pb_utils.get_model_dir()))
            apply(complete(config, signature), auto_complete_model_config)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the session and holds config.pbtxt to it."""
        require_package("onnxruntime", "onnxruntime", extra="server")
        from modelyard_server.backends.onnxruntime.loading import load

        self._instance = Instance(pb_utils, args, load)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Serves one batch: a response for each request, in order."""
        return self._instance.execute(requests)

    def finalize(self) -> None:
        """Gives the session's memory back."""
        del self._instance
