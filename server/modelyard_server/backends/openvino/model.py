"""The openvino backend of the embedded Triton, in place of the container's C++ one.

Triton's Python stub imports this file for every model whose config.pbtxt says ``backend: "openvino"``. The same
configurations, parameters and artefacts are accepted, and what the container refuses is refused here, with the reason
in words.

Batches: the container compiles a model for a batch of exactly `max_batch_size`, and so does this backend: a run with
fewer items fails, unless the parameter ENABLE_BATCH_PADDING is YES. The container then fills the batch up and pays for
the padding; here the batch stays dynamic, and the same answers cost what their items cost.

Precision: OpenVINO chooses it, here as in the container. On a CPU with native bfloat16 a float32 model computes in
bfloat16; the log says what was chosen.

Threads: the instances of the container share one compiled model with its threads and streams. Here each is a process
that gets its share of INFERENCE_NUM_THREADS (all cores where it is not given) and of NUM_STREAMS.

What differs from the container, and cannot be otherwise: the server's ``--backend-config=openvino,…`` does not reach a
Python-based backend; KIND_AUTO on a machine with a visible GPU is refused, where the container takes the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from modelyard_server.backend_support.autocomplete import apply
from modelyard_server.backend_support.instance import Instance
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.packages import require_package
from modelyard_server.backends.openvino.autocomplete import needs_completion


class TritonPythonModel:
    """One instance of an OpenVINO model; the methods are those that Triton calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Completes what config.pbtxt leaves out; called once a model, in a process of its own."""
        config = ModelConfig.from_dict(auto_complete_model_config.as_dict())
        if needs_completion(config):
            # Imported here, as a configuration that is complete need not wait for OpenVINO.
            require_package("openvino", "openvino", extra="openvino")
            from modelyard_server.backends.openvino.loading import read_completion

            apply(read_completion(config, Path(pb_utils.get_model_dir())), auto_complete_model_config)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Compiles the model and holds config.pbtxt to it."""
        require_package("openvino", "openvino", extra="openvino")
        from modelyard_server.backends.openvino.loading import load

        self._instance = Instance(pb_utils, args, load)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Serves one batch: a response for each request, in order."""
        return self._instance.execute(requests)

    def finalize(self) -> None:
        """Gives the model's memory back."""
        del self._instance
