"""Triton's ModelConfig, as tritonclient carries it, without importing tritonclient: that takes numpy and gRPC."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

_NAME = "tritonclient.grpc.model_config_pb2"


def _load() -> ModuleType:
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    package = importlib.util.find_spec("tritonclient")
    folder = (package.submodule_search_locations if package else None) or [""]
    # Not into sys.modules: tritonclient.grpc, imported later, makes its own, of the same descriptors.
    spec = importlib.util.spec_from_file_location(_NAME, Path(folder[0], "grpc", "model_config_pb2.py"))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(_NAME)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    from tritonclient.grpc import model_config_pb2 as model_config_pb2
else:
    model_config_pb2 = _load()

ModelConfig = model_config_pb2.ModelConfig
