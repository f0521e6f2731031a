"""A TorchScript model, ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from modelyard_server.backend_support.batching import Array, Tensors
from modelyard_server.backend_support.datatypes import STRING
from modelyard_server.backend_support.errors import BackendError, ExecutionError, ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backends.pytorch import session
from modelyard_server.backends.pytorch.naming import argument_places, output_places
from modelyard_server.backends.pytorch.settings import Settings

_TENSOR, _LIST, _DICT, _TUPLE, _SELF = "TensorType", "ListType", "DictType", "TupleType", "ClassType"


class TorchScriptModel:
    """A `torch.jit` module.

    Args:
        path: The artefact.
        name: What messages call it.
        config: The model's configuration.
        settings: How PyTorch was set up.
        device: Where it runs; None leaves it where the file says.

    Attributes:
        description: What runs the model, for the log.

    Raises:
        ModelLoadError: The file is no TorchScript, or contradicts the configuration.
    """

    def __init__(self, path: Path, name: str, config: ModelConfig, settings: Settings, device: Any) -> None:
        self._inference_mode, self._cache_cleaning = settings.inference_mode, settings.cache_cleaning
        self._device = device
        with torch.inference_mode(self._inference_mode):
            self._module = _open(path, name, device)
        schema = self._module.forward.schema
        arguments = [argument for argument in schema.arguments if argument.type.kind() != _SELF]
        self._takes_dict = [argument.type.kind() for argument in arguments] == [_DICT]
        self._places = _places(config, arguments, name, takes_dict=self._takes_dict)
        self._output_places = output_places([tensor.name for tensor in config.outputs])
        self._data_types = {tensor.name: tensor.data_type for tensor in config.outputs}
        _check_result(schema.returns[0].type, self._output_places, name)
        self.description = (
            f"{name} (TorchScript) in torch {torch.__version__} on {device or 'the devices it names'}, "
            f"{settings.intra_op_threads} intra-op thread(s)"
        )

    def run(self, outputs: Sequence[str], inputs: Tensors) -> Sequence[Array]:
        """Runs `forward` once.

        Raises:
            ExecutionError: It failed, or gave something else than config.pbtxt says.
        """
        try:
            with torch.inference_mode(self._inference_mode), torch.no_grad():
                result = self._forward({name: session.to_torch(array, self._device) for name, array in inputs.items()})
                results = result if isinstance(result, tuple) else (result,)
                return session.pick(outputs, results, self._output_places, self._data_types)
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - TorchScript raises whatever the model raises
            raise ExecutionError(f"PyTorch execute failure: {session.one_line(error)}") from None
        finally:
            if self._cache_cleaning and torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _forward(self, values: dict[str, Any]) -> Any:
        if self._takes_dict:
            return self._module(values)
        return self._module(*(values[name] for name in sorted(values, key=self._places.__getitem__)))


def _open(path: Path, name: str, device: Any) -> Any:
    """TorchScript's own reader never unpickles what could run code."""
    try:
        return torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - PyTorch's errors have no base of their own
        raise ModelLoadError(
            f"torch {torch.__version__} cannot open {name} as TorchScript: {_first_sentence(error)} Save it with "
            "torch.jit.script(model).save(path) or torch.jit.trace(model, inputs).save(path); what torch.save() wrote "
            "is not read"
        ) from None


def _first_sentence(error: Exception) -> str:
    return f"{session.one_line(error).partition('. ')[0].rstrip('.')}."


def _places(config: ModelConfig, arguments: Sequence[Any], name: str, *, takes_dict: bool) -> dict[str, int]:
    inputs = [tensor.name for tensor in config.inputs]
    if takes_dict:
        return {key: place for place, key in enumerate(inputs)}
    _check_arguments(config, arguments, name)
    more = [target for entry in config.batch_inputs for target in entry.targets]
    controls = [control.name for control in config.controls]
    places = argument_places(inputs, more, controls, [argument.name for argument in arguments], name)
    for tensor in config.inputs:
        _check_argument(arguments[places[tensor.name]], tensor.name, tensor.data_type, name)
    return places


def _check_arguments(config: ModelConfig, arguments: Sequence[Any], name: str) -> None:
    for argument in arguments:
        if argument.type.kind() != _TENSOR and str(argument.type) != "List[str]":
            raise ModelLoadError(
                f"argument '{argument.name}' of forward in {name} is {argument.type}, expected Tensor, List[str], or "
                "one Dict[str, Tensor] as the only argument: script the model with these"
            )
    given = len(config.inputs) + len(config.batch_inputs) + len(config.controls)
    if given != len(arguments):
        raise ModelLoadError(
            f"config.pbtxt has {given} input(s) with batch_input and sequence controls, and forward in {name} takes "
            f"{len(arguments)}: {', '.join(argument.name for argument in arguments)}"
        )


def _check_argument(argument: Any, tensor: str, data_type: str, name: str) -> None:
    if (argument.type.kind() == _LIST) != (data_type == STRING):
        raise ModelLoadError(
            f"input '{tensor}' is {data_type} in config.pbtxt, and argument '{argument.name}' of forward in {name} is "
            f"{argument.type}: strings go with List[str], all else with Tensor"
        )


def _check_result(result: Any, places: dict[str, int], name: str) -> None:
    """Where TorchScript knows what `forward` returns, it is looked at before the first request."""
    returned = list(result.elements()) if result.kind() == _TUPLE else [result]
    for each in returned:
        if each.kind() != _TENSOR and str(each) != "List[str]":
            raise ModelLoadError(
                f"forward in {name} returns {result}, expected Tensor, List[str] or a tuple of these: return the "
                "values of a dictionary or the elements of a list as a tuple"
            )
    for output, place in places.items():
        if place >= len(returned):
            raise ModelLoadError(
                f"output '{output}' of config.pbtxt is number {place} of forward in {name}, which returns "
                f"{len(returned)}: rename it to <name>__<index>, or list the outputs in the model's order"
            )
