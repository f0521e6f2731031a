"""What the two targets share: a plan out of the graph of a precision, with its record."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard_build.assets import cache_dir
from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Model, Tensor
from modelyard_build.quality import EXACT, NEAR, NEAR_HALF, QUANTISED, Quality
from modelyard_build.repository.cc_model_filenames import plan_filename
from modelyard_build.repository.config import Serving
from modelyard_build.repository.hardware import hardware
from modelyard_build.repository.releases import RELEASE_VARIABLE, Release
from modelyard_build.repository.tensorrt_lock import check_compute_capability, check_lock
from modelyard_build.targets.target import Candidate, Run, Source, Target
from modelyard_build.tensorrt_engine import builder
from modelyard_build.tensorrt_engine.job import Binding, Job
from modelyard_build.tensorrt_engine.library import Library, installed
from modelyard_build.tensorrt_engine.options import EngineOptions, check_options
from modelyard_build.tensorrt_engine.profiles import Profile, check_profiles

QUALITIES: dict[str, Quality] = {"fp32": EXACT, "fp16": NEAR_HALF, "bf16": NEAR, "int8": QUANTISED, "fp8": QUANTISED}
# What is not in 8 bits is in float16: a GPU gains nothing from 8 bits between float32 nodes.
GRAPHS = {"int8": "int8-fp16"}
# The least compute capability whose hardware has the dtype.
NEEDS = {"bf16": (8, 0), "fp8": (8, 9)}


def candidates(target: str, suffix: str) -> tuple[Candidate, ...]:
    """One candidate a precision; the file is `model.<precision>` and the suffix."""
    return tuple(
        Candidate(
            name=f"{target}-{precision}",
            target=target,
            precision=precision,
            graph=GRAPHS.get(precision, precision),
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
        profiles = self._profiles(source.model)
        lock = self._lock(source.release)
        graph = source.graph(candidate.graph)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as scratch:
            layers = "" if self.cannot_run(candidate) else f"{candidate.filename}.layers.json"
            job = self._job(source.model, graph, profiles, Path(scratch) / candidate.filename, layers)
            title = f"{source.model.name}: {candidate.name}"
            built = builder.build(
                job, title, source.progress.say, lambda version: _accept({**lock, "version": version}, source.release)
            )
            for path in Path(scratch).iterdir():
                path.replace(folder / path.name)
        return {**lock, **built, "layers_file": layers}

    def _profiles(self, model: Model) -> tuple[Profile, ...]:
        check_options(self.library, self.options)
        profiles = self.options.profiles(model)
        check_profiles(model, profiles)
        return profiles

    def _job(self, model: Model, graph: Path, profiles: tuple[Profile, ...], engine: Path, layers: str) -> Job:
        return Job(
            library=self.library.module,
            graph=str(graph),
            engine=str(engine),
            bindings=declared_bindings(model),
            profiles=profiles,
            version_compatible=self.options.version_compatible,
            hardware_compatibility=self.options.hardware_compatibility,
            compute_capabilities=self.options.compute_capabilities,
            workspace_bytes=self.options.workspace_bytes,
            timing_cache=str(cache_dir() / "tensorrt"),
            layers=str(engine.with_name(layers)) if layers else "",
        )

    def _lock(self, release: Release) -> dict[str, Any]:
        """What binds an engine to a server and its GPU; see `check_lock`."""
        gpu = hardware().gpu if self.library.builds_on_gpu else None
        targets = self.options.compute_capabilities or self.library.portable_to
        return {
            "library": self.library.module,
            "triton": release.name,
            "built_in_release": os.environ.get(RELEASE_VARIABLE),
            "gpu": gpu.name if gpu else None,
            "compute_capabilities": [gpu.compute_capability] if gpu else list(targets),
            "hardware_compatibility": self.options.hardware_compatibility,
            "version_compatible": self.options.version_compatible,
        }

    def cannot_run(self, candidate: Candidate) -> str:
        """Why it cannot run here; see `Target`."""
        gpu = hardware().gpu
        if gpu is None:
            return f"a {self.library.title} engine runs on an NVIDIA GPU, and there is none here"
        if not self.library.builds_on_gpu:
            targets = self.options.compute_capabilities or self.library.portable_to
            return check_compute_capability(self.library.module, targets, gpu.compute_capability)
        return self._too_old(candidate, gpu.compute_capability)

    def here(self, candidate: Candidate) -> Candidate:
        """A plan of this machine's compute capability, under a name that says so; see `Target`."""
        gpu = hardware().gpu if self.library.builds_on_gpu else None
        if gpu is None:
            return candidate
        filename = plan_filename(candidate.filename, gpu.compute_capability)
        suffix = filename.split(".")[-2]
        return replace(candidate, name=f"{candidate.name}-{suffix}", filename=filename)

    def device_key(self) -> str:
        """The GPU's kind and the release that the plan is for; see `Target`."""
        gpu = hardware().gpu if self.library.builds_on_gpu else None
        return f"{gpu.name} {gpu.compute_capability} {os.environ.get(RELEASE_VARIABLE)}" if gpu else ""

    def serving(self, candidate: Candidate, model: Model) -> Serving:
        """With every profile that a config may list, and without a fallback to another GPU's plan; see `Target`."""
        gpu = hardware().gpu if self.library.builds_on_gpu else None
        plans = {gpu.compute_capability: candidate.filename} if gpu else {}
        # Triton refuses a list of profiles of every backend but tensorrt; there an engine serves all it has.
        count = len(self.options.profiles(model)) if self.library.builds_on_gpu else 1
        return replace(super().serving(candidate, model), plans=plans, profiles=count)

    def runner(self, candidate: Candidate, folder: Path, model: Model) -> Run:
        """Loads the engine on the first GPU; see `Target`."""
        if reason := self.cannot_run(candidate):
            raise ArtefactFailed(f"{candidate.filename} cannot run: {reason}.")
        from modelyard_build.tensorrt_engine.runner import Runner

        return Runner(self.library, folder / candidate.filename)


def _accept(record: dict[str, Any], release: Release) -> None:
    """Stops before minutes are spent on an engine that the release's server would not load."""
    if reason := check_lock(record, release, None):
        raise ArtefactFailed(reason)


def declared_bindings(model: Model) -> tuple[Binding, ...]:
    """The inputs and outputs that a model declares, as an engine has them."""
    batch = (-1,) if model.max_batch_size else ()

    def binding(tensor: Tensor, mode: str) -> Binding:
        return Binding(tensor.name, mode, tensor.dtype, (*batch, *tensor.config_dims))

    inputs = (binding(tensor, "input") for tensor in model.inputs)
    return (*inputs, *(binding(tensor, "output") for tensor in model.outputs))
