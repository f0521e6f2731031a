"""One instance of a model, whatever runs it: loaded, logged, and its batches served.

Triton's own module, which exists only inside its stub, is handed in, and so is how the model is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelyard_server.backend_support.batching import Array, Job, Plan, Tensors, run_jobs
from modelyard_server.backend_support.cancellation import Cancellation
from modelyard_server.backend_support.errors import BackendError, CancelledError, RequestError
from modelyard_server.backend_support.exchange import Exchange
from modelyard_server.backend_support.model_config import ModelConfig


class Runtime(Protocol):
    """An artefact, open and ready to run.

    Attributes:
        description: What runs the model, for the log.
    """

    description: str

    def run(self, outputs: Sequence[str], inputs: Tensors) -> Sequence[Array]:
        """Runs the model once.

        Args:
            outputs: The names of those to fetch.
            inputs: By name; bfloat16 ones as uint16.

        Returns:
            The outputs in the order asked for; bfloat16 ones as uint16. They stay as they are when the model runs
            again.

        Raises:
            ExecutionError: The runtime refused the inputs or failed.
        """


@dataclass(frozen=True)
class Placement:
    """Where Triton puts an instance.

    Attributes:
        kind: CPU, GPU or MODEL.
        device_id: The GPU's number.
        instance: The instance's name: that of its `instance_group` and a number.
    """

    kind: str
    device_id: int = 0
    instance: str = ""


@dataclass(frozen=True)
class Loaded:
    """A model that was held to its config.pbtxt.

    Attributes:
        runtime: Runs it.
        plan: How requests are joined and split.
        warnings: For the log.
    """

    runtime: Runtime
    plan: Plan
    warnings: Sequence[str] = ()


Load = Callable[[ModelConfig, Path, Placement], Loaded]
"""Out of the configuration, ``<model>/<version>``, and where the instance is to be."""


class Instance:
    """Serves one model.

    Args:
        pb_utils: Triton's module `triton_python_backend_utils`.
        args: What Triton calls `initialize` with.
        load: Loads the model; raises `ModelLoadError`.
    """

    def __init__(self, pb_utils: Any, args: Mapping[str, str], load: Load) -> None:
        config = ModelConfig.from_json(args["model_config"])
        version_folder = Path(args["model_repository"], args["model_version"])
        name = args["model_instance_name"]
        placement = Placement(args["model_instance_kind"], int(args["model_instance_device_id"]), name)
        loaded = load(config, version_folder, placement)
        pb_utils.Logger.log_info(f"{name}: {loaded.runtime.description}")
        for warning in loaded.warnings:
            pb_utils.Logger.log_warn(f"{name}: {warning}")
        self._runtime, self._plan = loaded.runtime, loaded.plan
        self._exchange = Exchange(
            pb_utils,
            inputs={tensor.name: tensor.data_type for tensor in config.inputs},
            outputs={tensor.name: tensor.data_type for tensor in config.outputs},
        )
        self._cancellation = Cancellation()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Serves one batch: a response for each request, in order."""
        read = [self._read(request) for request in requests]
        jobs = [item for item in read if isinstance(item, Job)]
        started = time.perf_counter()
        outcomes = iter(run_jobs(jobs, self._plan, self._runtime.run))
        self._cancellation.observe(time.perf_counter() - started, len(jobs))
        return [self._exchange.response(next(outcomes) if isinstance(item, Job) else item) for item in read]

    def _read(self, request: Any) -> Job | BackendError:
        if self._cancellation.worth_asking() and request.is_cancelled():
            return CancelledError("the request was cancelled before it ran")
        try:
            return self._exchange.job(request)
        except RequestError as error:
            return error
