"""The pytorch backend of the embedded Triton, in place of the container's C++ one.

Triton's Python stub imports this file for every model whose config.pbtxt says ``backend: "pytorch"`` or
``platform: "pytorch_libtorch"``. The same configurations, parameters and TorchScript files are accepted, and what the
container refuses is refused here, with the reason in words. Nothing is completed in a config.pbtxt: TorchScript tells
neither shapes nor data types.

PT2 archives: the container (26.03 and later) takes ``platform: "torch_aoti"``, which the core of Triton 2.51 refuses
before any backend is asked. Here a file named ``*.pt2`` in `default_model_filename` is run as such an archive. Its
inputs are read unchecked, as in the container: let config.pbtxt name every size that the archive fixes.
AOTI_RUNTIME_CHECK_INPUTS=1 in the server's environment turns on PyTorch's own checks, which refuse a batch of 1 where
the batch was exported as dynamic.

Threads: where config.pbtxt sets no INTRA_OP_THREAD_COUNT, an instance gets the cores that this process may use divided
by the number of the model's instances, at least one. PyTorch's own default, and the container's, is all cores for each.

What differs from the container, and cannot be otherwise:

* instances do not share weights (ENABLE_WEIGHT_SHARING is accepted and has no effect);
* implicit sequence state is refused, as Triton does not keep it for Python-based backends;
* a string that is not UTF-8 is refused.
"""

from __future__ import annotations

from pathlib import Path

from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.packages import require_package
from modelyard_server.backend_support.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """One instance of a PyTorch model."""

    @staticmethod
    def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
        """Loads TorchScript or a PT2 archive."""
        require_package("pytorch", "torch", extra="build")
        from modelyard_server.backends.pytorch.loading import load

        return load(config, version_folder, placement)
