"""A PT2 archive: a model that AOTInductor compiled ahead of time into a library, ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from modelyard_server.backend_support.batching import Array, Tensors
from modelyard_server.backend_support.errors import BackendError, ExecutionError, ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backends.pytorch import session
from modelyard_server.backends.pytorch.contract import check_archive_config
from modelyard_server.backends.pytorch.naming import archive_places, call_names
from modelyard_server.backends.pytorch.settings import Settings

_MODEL_NAME = "model"  # that aoti_compile_and_package() gives


class ArchiveModel:
    """A compiled package.

    Its library is run in this process, as in the container: load only archives that you trust.

    Args:
        path: The artefact.
        name: What messages call it.
        config: The model's configuration.
        settings: How PyTorch was set up.
        device: Where it runs.

    Attributes:
        description: What runs the model, for the log.

    Raises:
        ModelLoadError: The file is no archive for this machine, or contradicts the configuration.
    """

    def __init__(self, path: Path, name: str, config: ModelConfig, settings: Settings, device: Any) -> None:
        check_archive_config(config)
        self._inference_mode, self._device = settings.inference_mode, device
        self._loader = _open(path, name, device)
        inputs, outputs = call_names(self._loader.get_call_spec(), name)
        self._places = archive_places(_all_inputs(config), inputs, "INPUT", name)
        _check_each_once(self._places, inputs, name)
        self._output_places = archive_places([tensor.name for tensor in config.outputs], outputs, "OUTPUT", name)
        self._data_types = {tensor.name: tensor.data_type for tensor in config.outputs}
        self.description = (
            f"{name} (AOTInductor) in torch {torch.__version__} on {device or 'cpu'}, "
            f"{settings.intra_op_threads} intra-op thread(s)"
        )

    def run(self, outputs: Sequence[str], inputs: Tensors) -> Sequence[Array]:
        """Runs the library once.

        Raises:
            ExecutionError: It refused the inputs, failed, or gave something else than config.pbtxt says.
        """
        ordered = [inputs[name] for name in sorted(inputs, key=self._places.__getitem__)]
        try:
            with torch.inference_mode(self._inference_mode), torch.no_grad():
                results = self._loader.run([session.to_torch(array, self._device) for array in ordered])
                return session.pick(outputs, results, self._output_places, self._data_types)
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - PyTorch's errors have no base of their own
            raise ExecutionError(f"PyTorch execute failure: {session.one_line(error)}") from None


def _open(path: Path, name: str, device: Any) -> Any:
    """The loader that the container uses; unlike Python's own it reads nothing that is pickled."""
    number = device.index if device is not None and device.type == "cuda" else -1
    try:
        return torch._C._aoti.AOTIModelPackageLoader(str(path), _MODEL_NAME, False, 1, number)
    except Exception as error:  # noqa: BLE001 - PyTorch's errors have no base of their own
        raise ModelLoadError(
            f"torch {torch.__version__} cannot open {name} as a PT2 archive: {session.one_line(error)} Compile it with "
            "torch._inductor.aoti_compile_and_package() on a machine like this one"
        ) from None


def _all_inputs(config: ModelConfig) -> list[str]:
    return [tensor.name for tensor in config.inputs] + [
        target for entry in config.batch_inputs for target in entry.targets
    ]


def _check_each_once(places: dict[str, int], inputs: Sequence[str], name: str) -> None:
    if sorted(places.values()) != list(range(len(inputs))):
        raise ModelLoadError(
            f"config.pbtxt lists {', '.join(places)}, and {name} takes each of {', '.join(inputs)} once: list them so"
        )
