"""From a configuration and a version folder to an engine that keeps the contract."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from modelyard_server.backend_support.artefact import artefact_name, require_artefact
from modelyard_server.backend_support.autocomplete import Completion
from modelyard_server.backend_support.batching import plan
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.packages import require_package
from modelyard_server.backend_support.tensorrt_engine.contract import check_contract, check_kind, complete
from modelyard_server.backend_support.tensorrt_engine.library import Library
from modelyard_server.backend_support.tensorrt_engine.plan_file import plan_filename
from modelyard_server.backend_support.tensorrt_engine.profiles import configured_profiles


class EngineRuntime:
    """An engine as an instance runs it.

    Attributes:
        description: What runs the model, for the log.
    """

    def __init__(self, engine: Any, description: str) -> None:
        self.description = description
        self.run = engine.run


def load(library: Library, config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
    """The engine of one instance, its contract checked.

    Raises:
        ModelLoadError: There is no GPU or no library, the engine does not load, or config.pbtxt contradicts it.
    """
    check_kind(library.backend, placement.kind)
    engine, described = _open(library, config, version_folder, placement.device_id)
    bindings = engine.bindings
    numbers = configured_profiles(config, placement.instance, len(bindings.profiles), library)
    check_contract(config, bindings, [bindings.profiles[number] for number in numbers])
    engine.open(numbers)
    runtime = EngineRuntime(engine, f"{described}, optimization profile {', '.join(map(str, numbers))}")
    return Loaded(runtime, plan(config, bindings.signature))


def read_completion(library: Library, config: ModelConfig, version_folder: Path) -> Completion | None:
    """What the engine adds to a configuration; None where no instance is on a GPU, as the container has it.

    Raises:
        ModelLoadError: There is no library, the engine does not load, or config.pbtxt contradicts it.
    """
    groups = [group for group in config.raw.get("instance_group", []) if group.get("kind") == "KIND_GPU"]
    if not groups:
        return None
    engine, _ = _open(library, config, version_folder, (groups[0].get("gpus") or [0])[0])
    profiles = engine.bindings.profiles
    numbers = {
        number for group in groups for number in configured_profiles(config, group["name"], len(profiles), library)
    }
    return complete(config, engine.bindings, [profiles[number] for number in sorted(numbers)])


def _open(library: Library, config: ModelConfig, version_folder: Path, device_id: int) -> tuple[Any, str]:
    """The engine, and what runs it in words."""
    require_package(library.backend, library.backend, library.extra)
    require_package(library.backend, "torch", extra="build")
    from modelyard_server.backend_support.tensorrt_engine.engine import Engine
    from modelyard_server.backend_support.tensorrt_engine.lock import Host
    from modelyard_server.backend_support.tensorrt_engine.memory import DeviceMemory

    trt = import_module(library.backend)
    memory = DeviceMemory(device_id)
    path = require_artefact(version_folder / plan_filename(config, memory.compute_capability), version_folder)
    name = artefact_name(path, version_folder)
    host = Host(library, trt.__version__, memory.compute_capability)
    described = f"{name} in {library.title} {trt.__version__} on {memory.name} ({memory.compute_capability})"
    return Engine(trt, path, name, host, memory), described
