"""What an application imports to call Triton.

from modelyard_client import Client

with Client("grpc://127.0.0.1:8001") as client:
result = client.infer("add", {"a": a, "b": b})
result["sum"]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client
    from modelyard_client.datatypes import bfloat16_to_float32, float32_to_bfloat16
    from modelyard_client.endpoint import Tls
    from modelyard_client.metadata import ModelMetadata, TensorSpec
    from modelyard_client.result import Result
    from modelyard_client.retry import RetryPolicy
    from modelyard_client.sequences import AsyncInferenceSequence, InferenceSequence

__all__ = [
    "AsyncClient",
    "AsyncInferenceSequence",
    "Client",
    "InferenceSequence",
    "ModelMetadata",
    "Result",
    "RetryPolicy",
    "TensorSpec",
    "Tls",
    "bfloat16_to_float32",
    "float32_to_bfloat16",
]

_MODULES = {
    "AsyncClient": "aio",
    "AsyncInferenceSequence": "sequences",
    "Client": "client",
    "InferenceSequence": "sequences",
    "ModelMetadata": "metadata",
    "Result": "result",
    "RetryPolicy": "retry",
    "TensorSpec": "metadata",
    "Tls": "endpoint",
    "bfloat16_to_float32": "datatypes",
    "float32_to_bfloat16": "datatypes",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for (PEP 562): who only catches errors does not wait for gRPC and aiohttp."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
