"""The `parameters` of a config.pbtxt that the container's pytorch backend reads.

https://github.com/triton-inference-server/pytorch_backend#parameters
"""

from __future__ import annotations

from dataclasses import dataclass

from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.parameters import bool_value, int_value
from modelyard_server.backend_support.threads import threads_per_instance


@dataclass(frozen=True)
class Settings:
    """How PyTorch runs a model.

    Attributes:
        inference_mode: Under `torch.inference_mode`.
        optimized_execution: Whether TorchScript optimises a graph in its first runs.
        cudnn: Whether cuDNN is used.
        deterministic: Whether operators without a deterministic form fail.
        cache_cleaning: Whether the GPU's cache is emptied after each run.
        jit_profiling: TorchScript's profiling mode; None leaves PyTorch's default.
        jit_executor: TorchScript's profiling executor; None leaves PyTorch's default.
        tensor_fuser: TorchScript's fuser; None leaves PyTorch's default.
        intra_op_threads: Threads within an operator.
        inter_op_threads: Threads between operators; None leaves PyTorch's default.
        weight_sharing: Asked for; instances here are processes, and share nothing.
    """

    inference_mode: bool
    optimized_execution: bool
    cudnn: bool
    deterministic: bool
    cache_cleaning: bool
    jit_profiling: bool | None
    jit_executor: bool | None
    tensor_fuser: bool | None
    intra_op_threads: int
    inter_op_threads: int | None
    weight_sharing: bool


def model_settings(config: ModelConfig, cores: int) -> Settings:
    """Reads them out of a configuration.

    A thread count that is given is taken as it is, for each instance. Where none is given, or one that is not positive,
    the cores are shared out among the model's instances: PyTorch's own default is all cores for each.

    Args:
        config: The model's configuration.
        cores: That this process may use.

    Raises:
        ModelLoadError: A value is not what it must be.
    """
    parameters = config.parameters
    intra_op = int_value(parameters, "INTRA_OP_THREAD_COUNT", 0)
    inter_op = int_value(parameters, "INTER_OP_THREAD_COUNT", 0)
    return Settings(
        inference_mode=bool_value(parameters, "INFERENCE_MODE", default=True),
        optimized_execution=not bool_value(parameters, "DISABLE_OPTIMIZED_EXECUTION", default=False),
        cudnn=not bool_value(parameters, "DISABLE_CUDNN", default=False),
        deterministic=bool_value(parameters, "ENABLE_DETERMINISTIC_ALGORITHMS", default=False),
        cache_cleaning=bool_value(parameters, "ENABLE_CACHE_CLEANING", default=False),
        jit_profiling=_optional_bool(config, "ENABLE_JIT_PROFILING"),
        jit_executor=_optional_bool(config, "ENABLE_JIT_EXECUTOR"),
        tensor_fuser=_optional_bool(config, "ENABLE_TENSOR_FUSER"),
        intra_op_threads=intra_op if intra_op > 0 else threads_per_instance(cores, config.instances()),
        inter_op_threads=inter_op if inter_op > 0 else None,
        weight_sharing=bool_value(parameters, "ENABLE_WEIGHT_SHARING", default=False),
    )


def _optional_bool(config: ModelConfig, key: str) -> bool | None:
    return bool_value(config.parameters, key, default=False) if key in config.parameters else None
