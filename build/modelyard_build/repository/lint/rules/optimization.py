"""MY406 to MY409: what a backend reads of `optimization`: levels, accelerators, settings of TensorRT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard_build.repository.lint.backend_parameters import close, described, expected
from modelyard_build.repository.lint.instance_groups import CPU, GPU, MODEL, devices, stated_groups
from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.values import quoted
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path as FieldPath


@rule(
    "MY406",
    Severity.WARNING,
    summary="an optimization level that means nothing",
    mend="State -1 (basic), 1 (extended) or 2 (none) for onnxruntime, or leave it out for every optimization.",
    verdict=Verdict.LOADS,
)
def graph_level_means_nothing(config: Config) -> Findings:
    """The onnxruntime backend takes `optimization.graph.level` -1 for basic, 1 for extended and 2 for none.

    Every other number is silently taken for all of them, as 0 is: a 3 or a 99 is not more. The openvino, pytorch,
    python and tensorrt backends do not read it.
    """
    level = config.message.optimization.graph.level
    if not level:
        return
    if config.backend in ("openvino", "pytorch", "python", "tensorrt"):
        why = f"the {config.backend} backend does not read it; take it away"
    elif config.backend == "onnxruntime" and level not in (-1, 1, 2):
        why = "onnxruntime knows -1 (basic), 1 (extended) and 2 (none), and takes this for all; take it away"
    else:
        return
    yield config.raised(
        f"optimization.graph.level is {level}: {why}",
        "optimization",
        "graph",
        "level",
        fix=without(config, "optimization", "graph", "level"),
    )


_ACCELERATORS = ("optimization", "execution_accelerators")


def _accelerators(config: Config, field: str) -> Iterator[tuple[FieldPath, Any]]:
    """The accelerators for "cpu" or "gpu" with their places."""
    name = f"{field}_execution_accelerator"
    for index, accelerator in enumerate(getattr(config.message.optimization.execution_accelerators, name)):
        yield (*_ACCELERATORS, name, index), accelerator


def _refused(place: FieldPath, accelerator: Any, known: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    """What onnxruntime refuses of an accelerator that it reads."""
    if accelerator.name not in known:
        near = close(accelerator.name, known) or f" It knows {', '.join(known)}"
        yield place, f"onnxruntime has no accelerator {quoted(accelerator.name)} here.{near}"
        return
    keys = known[accelerator.name]
    for key, value in accelerator.parameters.items() if keys else ():
        where = (*place, "parameters", key)
        if key not in keys:
            yield where, f"the {accelerator.name} accelerator has no parameter {quoted(key)}.{close(key, keys)}"
        elif wanted := expected(keys[key], value):
            yield where, f"{key} is {quoted(value)}, and {wanted} is expected"


@rule(
    "MY407",
    Severity.ERROR,
    summary="an accelerator that onnxruntime refuses",
    mend="State `tensorrt` or `cuda` for a GPU, `openvino` for a CPU, with parameters of theirs.",
    verdict=Verdict.REFUSES,
)
def accelerator_is_refused(config: Config) -> Findings:
    """Triton refuses the model: `unknown Execution Accelerator '…' is requested`.

    For a key it says `unknown parameter '…' is provided for TensorRT Execution Accelerator`. CPU accelerators are read
    wherever the model runs, those for a GPU only by instances on one: this tells of the latter where the instances are
    surely on a GPU.
    """
    if config.backend != "onnxruntime" or config.message.runtime:
        return
    table = described("onnxruntime") or {}
    for place, accelerator in _accelerators(config, "cpu"):
        # openvino takes whatever stands in its parameters, and reads none of it.
        for where, why in _refused(place, accelerator, table["cpu_accelerators"]):
            yield config.raised(why, *where)
    if GPU in devices(config):
        for place, accelerator in _accelerators(config, "gpu"):
            for where, why in _refused(place, accelerator, table["gpu_accelerators"]):
                yield config.raised(why, *where)


@rule(
    "MY408",
    Severity.WARNING,
    summary="an accelerator that nothing reads",
    mend="Take it away, or run the instances where it is read: onnxruntime, a GPU one on KIND_GPU.",
    verdict=Verdict.LOADS,
)
def accelerator_is_ignored(config: Config) -> Findings:
    """Triton loads it silently, and the model runs without it.

    Only onnxruntime has accelerators: `gpu_execution_accelerator` for instances on a GPU, and `openvino` for a CPU,
    whose parameters are not read. What onnxruntime would refuse on a GPU is told of here where it is not known where
    the instances will run.
    """
    reads_none = config.backend in ("openvino", "pytorch", "python", "tensorrt")
    for field in ("cpu", "gpu"):
        for place, accelerator in _accelerators(config, field):
            if reads_none:
                yield config.raised(f"the {config.backend} backend has no accelerators; take it away", *place)
            elif config.backend == "onnxruntime" and field == "gpu":
                yield from _ignored_on_a_cpu(config, place, accelerator)
            elif config.backend == "onnxruntime" and accelerator.parameters and accelerator.name == "openvino":
                yield config.raised(
                    "the openvino accelerator reads no parameters; take them away", *place, "parameters"
                )


def _ignored_on_a_cpu(config: Config, place: FieldPath, accelerator: Any) -> Iterator[Raised]:
    found = devices(config)
    if found <= {CPU, MODEL}:
        yield config.raised(
            f"gpu_execution_accelerator {quoted(accelerator.name)} is ignored: the instances run on the CPU; take it "
            "away, or state kind: KIND_GPU",
            *place,
        )
    elif GPU not in found:
        table = described("onnxruntime") or {}
        for where, why in _refused(place, accelerator, table["gpu_accelerators"]):
            yield config.raised(f"on a GPU this is refused: {why}", *where)


@rule(
    "MY409",
    Severity.WARNING,
    summary="a field that only the TensorRT backend reads",
    mend="Take it away.",
    verdict=Verdict.LOADS,
)
def only_tensorrt_reads_it(config: Config) -> Findings:
    """CUDA graphs, eager batching, the gather kernel's threshold and DLA cores are settings of the TensorRT backend.

    Elsewhere Triton loads them silently, and nothing happens. CUDA graphs of an ONNX model are a parameter of its
    accelerator: `trt_cuda_graph_enable`, or `enable_cuda_graph` of `cuda`.
    """
    if config.backend not in ("onnxruntime", "openvino", "pytorch", "python"):
        return
    optimization = config.message.optimization
    for field in ("cuda", "eager_batching", "gather_kernel_buffer_threshold"):
        stated = optimization.HasField("cuda") if field == "cuda" else getattr(optimization, field)
        if stated:
            yield config.raised(
                f"optimization.{field} is read by the tensorrt backend alone, not by {config.backend}; take it away",
                "optimization",
                field,
                fix=without(config, "optimization", field),
            )
    for path, group, _ in stated_groups(config):
        if group.secondary_devices:
            yield config.raised(
                f"secondary_devices are DLA cores of the tensorrt backend; {config.backend} does not use them: take "
                "them away",
                *path,
                "secondary_devices",
            )
