"""What an ONNX Runtime session says of its graph, in Triton's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelyard_server.backend_support.datatypes import BFLOAT16, STRING
from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.signature import ArtefactTensor, Signature

# https://onnxruntime.ai/docs/api/python/api_summary.html names types like tensor(float).
DATA_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(bfloat16)": BFLOAT16,
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": STRING,
}


def graph_signature(session: Any, artefact: str) -> Signature:
    """The tensors of a session's graph.

    Args:
        session: An `onnxruntime.InferenceSession`.
        artefact: What messages call the file.

    Raises:
        ModelLoadError: A tensor is of a type that Triton does not have.
    """
    return Signature(
        artefact,
        inputs=_tensors(session.get_inputs(), artefact),
        outputs=_tensors(session.get_outputs(), artefact),
        overridable=_tensors(session.get_overridable_initializers(), artefact),
    )


def _tensors(nodes: Iterable[Any], artefact: str) -> dict[str, ArtefactTensor]:
    return {node.name: ArtefactTensor(_data_type(node, artefact), _dims(node)) for node in nodes}


def _data_type(node: Any, artefact: str) -> str:
    if node.type not in DATA_TYPES:
        raise ModelLoadError(
            f"'{node.name}' of {artefact} is a {node.type}, for which Triton has no data type: export the model with "
            "tensors of booleans, integers, floats or strings at its ends"
        )
    return DATA_TYPES[node.type]


def _dims(node: Any) -> tuple[int, ...]:
    """Dynamic dimensions come as their symbolic name or None."""
    return tuple(dim if isinstance(dim, int) else -1 for dim in node.shape)
