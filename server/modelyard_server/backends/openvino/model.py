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
that gets its share of INFERENCE_NUM_THREADS (all cores where it is not given) and of NUM_STREAMS. Nor are they bound
to cores as the container's are: processes that know nothing of each other would all take the first ones.

What differs from the container, and cannot be otherwise: the server's ``--backend-config=openvino,…`` does not reach a
Python-based backend; KIND_AUTO on a machine with a visible GPU is refused, where the container takes the CPU.
"""

from __future__ import annotations

from pathlib import Path

from modelyard_server.backend_support.autocomplete import Completion
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.packages import require_package
from modelyard_server.backend_support.triton_model import TritonModel
from modelyard_server.backends.openvino.autocomplete import needs_completion


class TritonPythonModel(TritonModel):
    """One instance of an OpenVINO model."""

    @staticmethod
    def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
        """Compiles the model."""
        require_package("openvino", "openvino", extra="openvino")
        from modelyard_server.backends.openvino.loading import load

        return load(config, version_folder, placement)

    @staticmethod
    def complete(config: ModelConfig, version_folder: Path) -> Completion | None:
        """By the model, where it could add anything."""
        if not needs_completion(config):
            return None
        require_package("openvino", "openvino", extra="openvino")
        from modelyard_server.backends.openvino.loading import read_completion

        return read_completion(config, version_folder)
