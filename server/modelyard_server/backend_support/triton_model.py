"""The methods that Triton's stub calls on a model's `TritonPythonModel`, for every backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard_server.backend_support.autocomplete import Completion, apply
from modelyard_server.backend_support.instance import Instance, Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig


class TritonModel(ABC):
    """One instance of a model.

    A backend says how it loads and what it completes. It imports its library in these two methods only, after
    `require_package`: a configuration that is complete need not wait for it.
    """

    @staticmethod
    @abstractmethod
    def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
        """Opens the artefact of ``<model>/<version>`` and holds config.pbtxt to it.

        Raises:
            ModelLoadError: The model must not be served.
        """

    @staticmethod
    def complete(config: ModelConfig, version_folder: Path) -> Completion | None:
        """What the artefact adds to a config.pbtxt; None where nothing is left out or the backend completes nothing.

        Raises:
            ModelLoadError: The artefact cannot be read, or contradicts the configuration.
        """
        return None

    @classmethod
    def auto_complete_config(cls, auto_complete_model_config: Any) -> Any:
        """Completes what config.pbtxt leaves out; called once a model, in a process of its own."""
        # Triton's own module exists in its stub alone.
        import triton_python_backend_utils as pb_utils

        config = ModelConfig.from_dict(auto_complete_model_config.as_dict())
        if completion := cls.complete(config, Path(pb_utils.get_model_dir())):
            apply(completion, auto_complete_model_config)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model."""
        import triton_python_backend_utils as pb_utils

        self._instance = Instance(pb_utils, args, self.load)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Serves one batch: a response for each request, in order."""
        return self._instance.execute(requests)

    def finalize(self) -> None:
        """Gives the model's memory back."""
        del self._instance
