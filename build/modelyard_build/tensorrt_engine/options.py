"""What may be chosen about an engine beyond its precision. Everything is off: the defaults give the fastest engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Model
from modelyard_build.tensorrt_engine.library import Library
from modelyard_build.tensorrt_engine.profiles import Profile, one_profile

HardwareCompatibility: TypeAlias = Literal["none", "ampere_plus", "same_compute_capability"]


@dataclass(frozen=True)
class EngineOptions:
    """Choices about an engine; all of them enter the artefact's record.

    Attributes:
        profiles: gives the optimization profiles of a model; see `profiles`.
        version_compatible: the plan also loads in later versions of the same major version. TensorRT only. Costs: it
            may be slower, it carries a lean runtime (tens of MB), and the server must run code out of the plan: Triton
            loads it only with `--backend-config=tensorrt,version-compatible=true`. Use it only where whoever writes
            plans is trusted with the server.
        hardware_compatibility: TensorRT only. "ampere_plus": the plan runs on every compute capability from 8.0 on;
            costs speed, because kernels of one architecture are left out and shared memory is limited to what all
            have. "same_compute_capability": on every GPU of the one it was built for, whatever its number of
            multiprocessors; costs less.
        compute_capabilities: TensorRT-RTX only: the targets, such as ("8.6", "8.9"); every one from 8.0 on (7.5 is
            left out) where empty. Fewer targets make a smaller engine, and bf16 needs 8.0, fp8 8.9.
        workspace_bytes: the GPU memory that a layer may use beside its tensors; without it all that the GPU has.
    """

    profiles: Callable[[Model], tuple[Profile, ...]] = one_profile
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = "none"
    compute_capabilities: tuple[str, ...] = ()
    workspace_bytes: int | None = None


def check_options(library: Library, options: EngineOptions) -> None:
    """Holds choices against what a library has.

    Raises:
        ArtefactFailed: a choice is the other library's.
    """
    if library.builds_on_gpu and options.compute_capabilities:
        raise ArtefactFailed(
            f"{library.title} builds for the GPU that it runs on, and compute_capabilities are "
            f"{', '.join(options.compute_capabilities)}. Leave them out, or see hardware_compatibility."
        )
    if not library.builds_on_gpu and (options.version_compatible or options.hardware_compatibility != "none"):
        raise ArtefactFailed(
            f"{library.title} has neither version_compatible nor hardware_compatibility: its engines load in the "
            "release that built them, and on every compute capability they were compiled for. Leave both out."
        )
