"""The process that runs the library: a job on stdin, progress and the outcome as JSON lines on stdout.

A process of its own because the library may take all memory, crash or ignore an interrupt; the build survives it.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

from modelyard_build.errors import ArtefactFailed
from modelyard_build.tensorrt_engine import memory, timing_cache
from modelyard_build.tensorrt_engine import network as networks
from modelyard_build.tensorrt_engine.job import CURRENT, Job
from modelyard_build.tensorrt_engine.library import LIBRARIES, Library
from modelyard_build.tensorrt_engine.phases import Phases
from modelyard_build.tensorrt_engine.profiles import Profile
from modelyard_build.tensorrt_engine.watchers import make_logger, make_monitor

_OUT_OF_MEMORY = ("OutOfMemory", "out of memory", "could not be allocated", "bad_alloc")


class Messages:
    """The outcome and what leads to it, a JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, **fields: Any) -> None:
        """One message."""
        with self._lock:
            self._stream.write(json.dumps(fields) + "\n")
            self._stream.flush()


def main() -> None:
    """Builds the engine of the job on stdin."""
    job = Job.from_json(sys.stdin.readline())
    messages = Messages(_own_stdout())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        messages.send(record=build(job, messages))
    except ArtefactFailed as error:
        messages.send(error=str(error))
    except MemoryError:
        messages.send(error=f"{LIBRARIES[job.library].title} found no memory for the engine. {_LESS_MEMORY}")


_LESS_MEMORY = "Lower max_batch_size or the largest sizes of the axes, or build on a machine with more memory."


def _own_stdout() -> TextIO:
    """A stream of our own to where stdout went; what the library prints to stdout goes to stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _end_with_parent() -> None:
    """Ends this process when the parent has ended, however it did: stdin is then at its end."""
    os.read(0, 1)
    os._exit(1)


def build(job: Job, messages: Messages) -> dict[str, Any]:
    """Builds an engine and writes it.

    Returns:
        What is recorded of it.

    Raises:
        ArtefactFailed: with the library's own reason.
    """
    trt: Any = importlib.import_module(job.library)
    library = LIBRARIES[job.library]
    title = f"{library.title} {trt.__version__}"
    messages.send(version=trt.__version__)
    started = time.monotonic()
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = networks.parse(trt, builder, logger, Path(job.graph), title)
    networks.check_bindings(job.bindings, networks.bindings(network), f"{Path(job.graph).name} in {title}")
    config = _configure(trt, builder, job)
    device = _device(library)
    cache = timing_cache.cache_path(Path(job.timing_cache), job.library, trt.__version__, device)
    _say(messages, timing_cache.attach(config, cache))
    config.progress_monitor = make_monitor(trt, Phases(), messages.send)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ArtefactFailed(_build_error(title, logger.errors))
    _say(messages, timing_cache.keep(config, cache))
    Path(job.engine).write_bytes(plan)
    return {
        "version": trt.__version__,
        "bindings": [dataclasses.asdict(binding) for binding in networks.bindings(network)],
        "profiles": [dataclasses.asdict(profile)["inputs"] for profile in job.profiles],
        "precisions": networks.precisions(network),
        "workspace_bytes": config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
        "engine_bytes": plan.nbytes,
        "build_seconds": round(time.monotonic() - started, 2),
        "peak_memory_bytes": memory.peak_bytes(),
        **(_inspect(trt, logger, plan, Path(job.layers)) if job.layers else {}),
    }


def _say(messages: Messages, line: str) -> None:
    if line:
        messages.send(say=line)


def _device(library: Library) -> str:
    from modelyard_build.repository.gpu import find_gpu

    gpu = find_gpu() if library.builds_on_gpu else None
    return f"{gpu.name}, {gpu.compute_capability}" if gpu else "cpu"


def _configure(trt: Any, builder: Any, job: Job) -> Any:
    config = builder.create_builder_config()
    # TF32 rounds the factors of float32 products to 11 bits: where the graph says float32, float32 is meant.
    config.clear_flag(trt.BuilderFlag.TF32)
    # The inspector then names the layers and their precisions; costs nothing at run time.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if job.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_bytes)
    if job.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if job.hardware_compatibility != "none":
        level = job.hardware_compatibility.upper()
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if job.compute_capabilities:
        config.num_compute_capabilities = len(job.compute_capabilities)
        for index, name in enumerate(job.compute_capabilities):
            config.set_compute_capability(_compute_capability(trt, name), index)
    for number, profile in enumerate(job.profiles):
        _add_profile(builder, config, number, profile)
    return config


def _compute_capability(trt: Any, name: str) -> Any:
    if name == CURRENT:
        return trt.ComputeCapability.CURRENT
    found = getattr(trt.ComputeCapability, f"SM{name.replace('.', '')}", None)
    if found is None:
        known = ", ".join(member for member in trt.ComputeCapability.__members__ if member.startswith("SM"))
        raise ArtefactFailed(
            f"TensorRT-RTX {trt.__version__} has no compute capability {name}; it has {known}. Name one of these."
        )
    return found


def _add_profile(builder: Any, config: Any, number: int, profile: Profile) -> None:
    made = builder.create_optimization_profile()
    for name, shapes in profile.inputs.items():
        made.set_shape(name, shapes.min, shapes.opt, shapes.max)
    if config.add_optimization_profile(made) < 0:
        raise ArtefactFailed(f"the library refuses optimization profile {number}: {dataclasses.asdict(profile)}.")


def _build_error(title: str, errors: list[str]) -> str:
    reason = " ".join(errors[:3]) or "it gave no reason"
    if any(sign in line for line in errors for sign in _OUT_OF_MEMORY):
        return f"{title} ran out of memory: {reason} {_LESS_MEMORY} A smaller workspace_bytes helps on a small GPU."
    return (
        f"{title} could not build the engine: {reason} If it names a dtype or an operator, choose another precision or "
        "target; otherwise build again with another version of the library."
    )


def _inspect(trt: Any, logger: Any, plan: Any, layers: Path) -> dict[str, Any]:
    """What only a loaded engine tells, so only on a GPU."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtefactFailed(f"the engine that was just built does not load: {' '.join(logger.errors[:3])}")
    report = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    layers.write_text(report, encoding="utf-8")
    return {"device_memory_bytes": engine.device_memory_size_v2, "layers": engine.num_layers}


if __name__ == "__main__":
    main()
