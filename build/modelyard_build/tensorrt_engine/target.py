"""What the two targets share: a plan out of the graph of a precision, with its record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard_build.assets import cache_dir
from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Model, Tensor
from modelyard_build.quality import EXACT, NEAR, NEAR_HALF, QUANTISED, Quality
from modelyard_build.repository.hardware import hardware
from modelyard_build.targets.target import Candidate, Run, Source, Target
from modelyard_build.tensorrt_engine import builder
from modelyard_build.tensorrt_engine.job import Binding, Job
from modelyard_build.tensorrt_engine.library import Library, installed
from modelyard_build.tensorrt_engine.options import EngineOptions, check_options
from modelyard_build.tensorrt_engine.profiles import check_profiles

QUALITIES: dict[str, Quality] = {"fp32": EXACT, "fp16": NEAR_HALF, "bf16": NEAR, "int8": QUANTISED, "fp8": QUANTISED}
# The least compute capability whose hardware has the dtype.
NEEDS = {"bf16": (8, 0), "fp8": (8, 9)}
# Set in deploy/build's image, which was checked to have the TensorRT of that release's server.
RELEASE_VARIABLE = "MODELYARD_TRITON_RELEASE"


def candidates(target: str, suffix: str) -> tuple[Candidate, ...]:
    """One candidate a precision; the file is `model.<precision>` and the suffix."""
    return tuple(
        Candidate(
            name=f"{target}-{precision}",
            target=target,
            precision=precision,
            graph=precision,
            filename=f"model.{precision}{suffix}",
            quality=quality,
            needs_gpu=True,
        )
        for precision, quality in QUALITIES.items()
    )


def version_of(compute_capability: str) -> tuple[int, ...]:
    """A compute capability to compare: (9, 0) for "9.0"."""
    return tuple(map(int, compute_capability.split(".")))


class EngineTarget(Target):
    """A target whose artefact is an engine of one of the two libraries."""

    instance_kind = "KIND_GPU"

    def __init__(self, library: Library, options: EngineOptions) -> None:
        self.library = library
        self.options = options

    def missing(self, candidate: Candidate) -> str:
        """Why it cannot be built here; see `Target`."""
        if not installed(self.library):
            return (
                f"{self.library.title} is not installed: pip install 'modelyard[{self.library.extra}]', or build in "
                "NVIDIA's container (docker compose run --rm build)"
            )
        if not self.library.builds_on_gpu:
            return ""
        gpu = hardware().gpu
        if gpu is None:
            return f"{self.library.title} builds on the GPU that will serve, and there is none here"
        return self._too_old(candidate, gpu.compute_capability)

    def _too_old(self, candidate: Candidate, compute_capability: str) -> str:
        needed = NEEDS.get(candidate.precision, (0, 0))
        if version_of(compute_capability) >= needed:
            return ""
        return (
            f"{candidate.precision} needs compute capability {needed[0]}.{needed[1]}, this GPU has {compute_capability}"
        )

    def write(self, candidate: Candidate, source: Source, folder: Path) -> dict[str, Any]:
        """Builds the engine in a process of its own; see `Target`."""
        model = source.model
        check_options(self.library, self.options)
        profiles = self.options.profiles(model)
        check_profiles(model, profiles)
        gpu = hardware().gpu
        partial, layers = folder / f".{candidate.filename}", folder / f"{candidate.filename}.layers.json"
        job = Job(
            library=self.library.module,
            graph=str(source.graph(candidate.graph)),
            engine=str(partial),
            bindings=declared_bindings(model),
            profiles=profiles,
            version_compatible=self.options.version_compatible,
            hardware_compatibility=self.options.hardware_compatibility,
            compute_capabilities=self.options.compute_capabilities,
            workspace_bytes=self.options.workspace_bytes,
            timing_cache=str(cache_dir() / "tensorrt"),
            layers=str(layers) if gpu else "",
        )
        try:
            built = builder.build(job, f"{model.name}: {candidate.name}", source.progress.say)
            partial.replace(folder / candidate.filename)
        except BaseException:
            layers.unlink(missing_ok=True)
            raise
        finally:
            partial.unlink(missing_ok=True)
        return {**self._lock(source), **built, **({"layers_file": layers.name} if gpu else {})}

    def _lock(self, source: Source) -> dict[str, Any]:
        """What binds the engine to a server and its GPU; `repository.tensorrt_lock` reads it."""
        gpu = hardware().gpu
        return {
            "library": self.library.module,
            "triton": source.release.name,
            "built_in_release": os.environ.get(RELEASE_VARIABLE),
            "gpu": gpu.name if gpu and self.library.builds_on_gpu else None,
            "compute_capabilities": list(self._compute_capabilities()),
            "hardware_compatibility": self.options.hardware_compatibility,
            "version_compatible": self.options.version_compatible,
        }

    def _compute_capabilities(self) -> Sequence[str]:
        if not self.library.builds_on_gpu:
            return self.options.compute_capabilities or self.library.portable_to
        gpu = hardware().gpu
        return [gpu.compute_capability] if gpu else []

    def cannot_run(self, candidate: Candidate) -> str:
        """Why it cannot run here; see `Target`."""
        gpu = hardware().gpu
        if gpu is None:
            return f"a {self.library.title} engine runs on an NVIDIA GPU, and there is none here"
        return self._too_old(candidate, gpu.compute_capability)

    def runner(self, candidate: Candidate, folder: Path, model: Model) -> Run:
        """Loads the engine on the first GPU; see `Target`."""
        if reason := self.cannot_run(candidate):
            raise ArtefactFailed(f"{candidate.filename} cannot run: {reason}.")
        from modelyard_build.tensorrt_engine.runner import Runner

        return Runner(self.library, folder / candidate.filename)


def declared_bindings(model: Model) -> tuple[Binding, ...]:
    """The inputs and outputs that a model declares, as an engine has them."""

    def binding(tensor: Tensor, mode: str) -> Binding:
        return Binding(tensor.name, mode, tensor.dtype, (-1, *tensor.config_dims))

    inputs = (binding(tensor, "input") for tensor in model.inputs)
    return (*inputs, *(binding(tensor, "output") for tensor in model.outputs))
