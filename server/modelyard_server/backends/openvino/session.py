"""An OpenVINO model, compiled and ready to run: the one place that calls OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino.preprocess import PrePostProcessor

from modelyard_server.backend_support.batching import Array, Tensors
from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import Signature
from modelyard_server.backends.openvino import contract
from modelyard_server.backends.openvino.graph import ELEMENT_TYPES, dimensions, model_signature
from modelyard_server.backends.openvino.settings import Settings

VERSION = str(openvino.__version__).partition("-")[0]
_VIRTUAL_DEVICES = ("AUTO", "MULTI", "HETERO", "BATCH")


class OpenVinoSession:
    """A compiled model and its infer request.

    Args:
        path: The artefact, in any form that OpenVINO reads.
        name: What messages call it.
        config: The model's configuration, which the model is held and fitted to.
        settings: How it is compiled.

    Attributes:
        description: What runs the model, for the log.
        signature: The inputs and outputs of the artefact.

    Raises:
        ModelLoadError: The artefact cannot be read or compiled, or the configuration contradicts it.
    """

    def __init__(self, path: Path, name: str, config: ModelConfig, settings: Settings) -> None:
        core = openvino.Core()
        _check_device(core, settings.device)
        if settings.extension:
            _attempt(f"load CPU_EXTENSION_PATH '{settings.extension}'", core.add_extension, settings.extension)
        model = _attempt(f"read {name}", core.read_model, path)
        self.signature: Signature = model_signature(model, name)
        contract.check_contract(config, self.signature)
        model = _fitted(model, name, config, settings)
        compiled = _attempt(f"compile {name}", core.compile_model, model, settings.device, settings.properties)
        self._request = compiled.create_infer_request()
        # The container's backend compiles for one size, which every run must have.
        self._batch_size = 0 if settings.batch_padding else config.max_batch_size
        self.description = f"{name} in openvino {VERSION} on {settings.device}, {_how(compiled)}"

    def run(self, outputs: Sequence[str], inputs: Tensors) -> Sequence[Array]:
        """Runs the model once; the inputs are read where they are.

        Raises:
            ExecutionError: The batch is not of the size that the model was compiled for, or OpenVINO failed.
        """
        self._check_batch_size(inputs)
        try:
            for name, array in inputs.items():
                self._request.set_tensor(name, _shared(array))
            self._request.infer()
            # The next run writes into the same memory.
            return [self._request.get_tensor(name).data.copy() for name in outputs]
        except Exception as error:  # noqa: BLE001 - OpenVINO's errors have no base of their own
            raise ExecutionError(f"openvino: {_one_line(error)}") from None

    def _check_batch_size(self, inputs: Tensors) -> None:
        size = next(iter(inputs.values())).shape[0] if self._batch_size else 0
        if size != self._batch_size:
            raise ExecutionError(
                f"this run has a batch of {size}, and the model is compiled for max_batch_size {self._batch_size}: "
                "send whole batches, or set the parameter ENABLE_BATCH_PADDING to YES"
            )


def read_model(path: Path, name: str) -> Any:
    """The `openvino.Model` of an artefact.

    Raises:
        ModelLoadError: OpenVINO cannot read it.
    """
    return _attempt(f"read {name}", openvino.Core().read_model, path)


def has_batch(model: Any) -> bool:
    """Whether the layout of each input and output of an `openvino.Model` has a batch."""
    return all(openvino.layout_helpers.has_batch(port.node.layout) for port in (*model.inputs, *model.outputs))


def _fitted(model: Any, name: str, config: ModelConfig, settings: Settings) -> Any:
    """The model with the types, the batch and, where it is asked for, the dims of config.pbtxt."""
    if settings.reshape:
        shapes = {tensor.name: _shape(config, tensor, model) for tensor in config.inputs}
        _attempt(f"give {name} the dims of config.pbtxt (RESHAPE_IO_LAYERS)", model.reshape, shapes)
    for tensor in config.inputs:
        contract.check_input_dims(config, tensor, dimensions(model.inputs, tensor.name), name)
    model = _with_types(model, name, "input", config)
    if config.batches:
        _set_batch(model, name, config.max_batch_size)
    for tensor in config.outputs:
        contract.check_output_dims(config, tensor, dimensions(model.outputs, tensor.name), name)
    if settings.batch_padding and config.batches:
        _set_batch(model, name, -1)
    return _with_types(model, name, "output", config)


def _shape(config: ModelConfig, tensor: Any, model: Any) -> Any:
    """The tensor's dims, behind the model's own first dimension where that is the batch."""
    found = model.input(tensor.name).get_partial_shape()
    first = [found[0]] if config.batches and len(found) else []
    return openvino.PartialShape([*first, *(openvino.Dimension(size) for size in tensor.shape)])


def _with_types(model: Any, name: str, side: str, config: ModelConfig) -> Any:
    """The model with a conversion at each end whose type in config.pbtxt is another."""
    processor = PrePostProcessor(model)
    for tensor in config.inputs if side == "input" else config.outputs:
        steps = getattr(processor, side)(tensor.name).tensor()
        steps.set_element_type(getattr(openvino.Type, ELEMENT_TYPES[tensor.data_type]))
        if config.batches and side == "input":
            steps.set_layout(openvino.Layout("N..."))
    return _attempt(f"give the {side}s of {name} the data types of config.pbtxt", processor.build)


def _set_batch(model: Any, name: str, size: int) -> None:
    _attempt(f"set the batch of {name} to max_batch_size", openvino.set_batch, model, openvino.Dimension(size))


def _check_device(core: Any, device: str) -> None:
    """`GPU.0` and `AUTO:CPU,GPU` are names, too."""
    family = device.partition(":")[0].partition(".")[0]
    known = sorted({name.partition(".")[0] for name in core.available_devices})
    if family not in (*known, *_VIRTUAL_DEVICES):
        raise ModelLoadError(
            f"parameter 'TARGET_DEVICE' is '{device}', and OpenVINO finds {', '.join(known)} on this machine: name one "
            "of these, or leave the parameter out"
        )


def _how(compiled: Any) -> str:
    """The precision and threads that OpenVINO chose; a virtual device does not tell."""
    told = compiled.get_property("SUPPORTED_PROPERTIES")
    parts = []
    if "INFERENCE_PRECISION_HINT" in told:
        parts.append(f"computes in {compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()}")
    if "INFERENCE_NUM_THREADS" in told:
        parts.append(f"{compiled.get_property('INFERENCE_NUM_THREADS')} thread(s)")
    if "NUM_STREAMS" in told:
        parts.append(f"{compiled.get_property('NUM_STREAMS')} stream(s)")
    return ", ".join(parts)


def _shared(array: Array) -> Any:
    """OpenVINO shares memory that is contiguous and writable; anything else is copied first."""
    return openvino.Tensor(np.require(array, requirements=["C", "W"]), shared_memory=True)


def _attempt(what: str, call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Exception as error:  # noqa: BLE001 - OpenVINO's errors have no base of their own
        raise ModelLoadError(f"openvino {VERSION} cannot {what}: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
