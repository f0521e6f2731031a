"""The session settings that a config.pbtxt asks for, as the container's onnxruntime backend reads them.

https://github.com/triton-inference-server/onnxruntime_backend#model-config-options
"""

from __future__ import annotations

from dataclasses import dataclass

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.parameters import bool_value, int_value
from modelyard_server.backend_support.threads import threads_per_instance

DEVICE_ALLOCATOR = "session.use_device_allocator_for_initializers"
ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"

# A thread that waits for work blocks instead of spinning (ONNX Runtime's default): instances, Triton itself, its other
# models and often the client share the cores here, and a spinning thread takes them from whoever has work to do. The
# price is a wake-up where an idle machine would have had none.
NO_SPINNING = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}

# optimization.graph.level to the names of onnxruntime.GraphOptimizationLevel; any other level is ORT_ENABLE_ALL.
_GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}


@dataclass(frozen=True)
class SessionSettings:
    """What a session is opened with.

    Attributes:
        graph_optimization_level: A name of `onnxruntime.GraphOptimizationLevel`.
        parallel: ORT_PARALLEL instead of ORT_SEQUENTIAL.
        intra_op_threads: Threads within an operator.
        inter_op_threads: Threads between operators; used where `parallel`.
        mem_arena: Keep freed memory for the next run; None leaves ONNX Runtime's default.
        mem_pattern: Plan memory by the shapes of earlier runs; None leaves ONNX Runtime's default.
        session_entries: Configuration entries of the session.
        run_entries: Configuration entries of every run.
        op_libraries: Shared libraries with custom operators.
    """

    graph_optimization_level: str
    parallel: bool
    intra_op_threads: int
    inter_op_threads: int
    mem_arena: bool | None
    mem_pattern: bool | None
    session_entries: dict[str, str]
    run_entries: dict[str, str]
    op_libraries: tuple[str, ...]


def session_settings(config: ModelConfig, cores: int) -> SessionSettings:
    """Reads them out of a configuration.

    Thread counts that are given are taken as they are; 0 is ONNX Runtime's word for every core. Where none is given the
    cores are shared out among the model's instances, as each is a process of its own.

    Args:
        config: The model's configuration.
        cores: That this process may use.

    Raises:
        ModelLoadError: A value is not what it must be.
    """
    parameters = config.parameters
    threads = threads_per_instance(cores, config.instances())
    return SessionSettings(
        graph_optimization_level=_graph_level(config),
        parallel=_parallel(config),
        intra_op_threads=int_value(parameters, "intra_op_thread_count", threads) or cores,
        inter_op_threads=int_value(parameters, "inter_op_thread_count", threads) or cores,
        mem_arena=_optional_bool(config, "enable_mem_arena"),
        mem_pattern=_optional_bool(config, "enable_mem_pattern"),
        session_entries={**NO_SPINNING, **_entries(config, DEVICE_ALLOCATOR)},
        run_entries=_entries(config, ARENA_SHRINKAGE),
        op_libraries=tuple(config.raw.get("model_operations", {}).get("op_library_filename", [])),
    )


def _graph_level(config: ModelConfig) -> str:
    level = config.raw.get("optimization", {}).get("graph", {}).get("level", 0)
    return _GRAPH_LEVELS.get(int(level), "ORT_ENABLE_ALL")


def _parallel(config: ModelConfig) -> bool:
    mode = int_value(config.parameters, "execution_mode", 0)
    if mode not in (0, 1):
        raise ModelLoadError(f"parameter 'execution_mode' is {mode}, expected 0 (sequential) or 1 (parallel)")
    return mode == 1


def _optional_bool(config: ModelConfig, key: str) -> bool | None:
    return bool_value(config.parameters, key, default=False) if key in config.parameters else None


def _entries(config: ModelConfig, key: str) -> dict[str, str]:
    return {key: config.parameters[key]} if key in config.parameters else {}
