"""A step's own code in this process: its model.py as Triton's Python backend loads it, without Triton."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import json_format

from measure.repositories import newest, stated_config
from measure.served import Tensors
from modelyard_build.model import Array
from modelyard_server.errors import ServerError

UTILS = "triton_python_backend_utils"


class Tensor:
    """`pb_utils.Tensor`."""

    def __init__(self, name: str, array: Array) -> None:
        self.name = name
        self._array = array

    def as_numpy(self) -> Array:
        """The array itself."""
        return self._array


class TritonError:
    """`pb_utils.TritonError`."""

    INTERNAL, INVALID_ARG, UNAVAILABLE, CANCELLED = range(4)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self.message, self.code = message, code


@dataclass(frozen=True)
class Response:
    """`pb_utils.InferenceResponse`."""

    output_tensors: Sequence[Tensor] = ()
    error: TritonError | None = None


@dataclass(frozen=True)
class Request:
    """What a step asks of a request."""

    inputs: Tensors

    def parameters(self) -> str:
        """None."""
        return ""

    def is_cancelled(self) -> bool:
        """Never."""
        return False


def _input(request: Request, name: str) -> Tensor | None:
    return Tensor(name, request.inputs[name]) if name in request.inputs else None


def _utils() -> ModuleType:
    module = ModuleType(UTILS)
    module.__dict__.update(
        Tensor=Tensor, TritonError=TritonError, InferenceResponse=Response, get_input_tensor_by_name=_input
    )
    return module


def initialised(repository: Path, name: str, config_name: str) -> Any:
    """The `TritonPythonModel` of a step's newest version, with the parameters of the config that is served.

    Args:
        repository: the model repository.
        name: a model of the Python backend.
        config_name: of the configs that are served where they stand, as `--model-config-name`.

    Raises:
        ServerError: nothing is built.
    """
    version = newest(repository, name)
    sys.modules.setdefault(UTILS, _utils())
    # As Triton has it: a package of the version's folder, and what lies in there by its own name.
    package = ModuleType(f"step_{name}")
    package.__path__ = [str(version)]
    sys.modules[package.__name__] = package
    sys.modules.pop(f"{package.__name__}.model", None)
    sys.path.append(str(version))
    step = importlib.import_module(f"{package.__name__}.model").TritonPythonModel()
    stated = json_format.MessageToDict(stated_config(repository, name, config_name), preserving_proto_field_name=True)
    step.initialize(
        {
            "model_config": json.dumps({"name": name, **stated}),
            "model_repository": str(repository / name),
            "model_version": version.name,
        }
    )
    return step


def answers(step: Any, requests: Sequence[Tensors]) -> list[Tensors]:
    """What a step that is not decoupled answers to requests that Triton would give it together.

    Raises:
        ServerError: one of them failed.
    """
    return [_outputs(response) for response in step.execute([Request(inputs) for inputs in requests])]


def _outputs(response: Response) -> Tensors:
    if response.error:
        raise ServerError(f"the step refuses what it is asked in process: {response.error.message}")
    return {tensor.name: tensor.as_numpy() for tensor in response.output_tensors}
