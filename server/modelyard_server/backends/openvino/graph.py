"""What OpenVINO says of a model's inputs and outputs, in Triton's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.signature import ArtefactTensor, Signature

# OpenVINO's element types for which the container's openvino backend has a Triton data type.
DATA_TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
}
ELEMENT_TYPES = {data_type: element_type for element_type, data_type in DATA_TYPES.items()}
# Of a tensor whose element type is none of these; config.pbtxt may give it one, and the backend converts.
UNSERVED = "TYPE_INVALID"

_UNBOUNDED = -1


@dataclass(frozen=True)
class Dimension:
    """A dimension that may lie between two sizes; `maximum` -1 has no end."""

    minimum: int
    maximum: int

    @property
    def size(self) -> int:
        """The size where there is one, else -1."""
        return self.minimum if self.minimum == self.maximum else -1

    def admits(self, size: int) -> bool:
        """Whether the container's backend takes this size of config.pbtxt: within bounds, -1 and the ends are not."""
        if self.size != -1 or self.maximum == _UNBOUNDED:
            return size == self.size or self.size == -1
        return self.minimum < size < self.maximum

    def __str__(self) -> str:
        if self.size != -1 or self.maximum == _UNBOUNDED:
            return str(self.size)
        return f"{self.minimum}..{self.maximum}"


Dimensions = tuple[Dimension, ...]


def model_signature(model: Any, artefact: str) -> Signature:
    """The tensors of an `openvino.Model`.

    Args:
        model: As read, or prepared to run.
        artefact: What messages call the file.

    Raises:
        ModelLoadError: A tensor has no name or no known number of dimensions.
    """
    return Signature(artefact, _tensors(model.inputs, artefact), _tensors(model.outputs, artefact))


def dimensions(ports: Sequence[Any], name: str) -> Dimensions:
    """The dimensions of the input or output of this name."""
    shape = next(port for port in ports if port.get_any_name() == name).get_partial_shape()
    return tuple(Dimension(each.get_min_length(), each.get_max_length()) for each in shape)


def _tensors(ports: Sequence[Any], artefact: str) -> dict[str, ArtefactTensor]:
    return {
        _name(place, port, artefact): ArtefactTensor(_data_type(port), _dims(port, artefact))
        for place, port in enumerate(ports)
    }


def _name(place: int, port: Any, artefact: str) -> str:
    if not port.get_names():
        raise ModelLoadError(
            f"tensor {place} at an end of {artefact} has no name: name inputs and outputs before the model is saved"
        )
    return str(port.get_any_name())


def _data_type(port: Any) -> str:
    return DATA_TYPES.get(port.get_element_type().get_type_name(), UNSERVED)


def _dims(port: Any, artefact: str) -> tuple[int, ...]:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise ModelLoadError(
            f"'{port.get_any_name()}' of {artefact} has any number of dimensions, expected a fixed number: give it a "
            "shape before the model is saved"
        )
    return tuple(each.get_length() if each.is_static else -1 for each in shape)
