"""What passes between the build and the process that runs the library, as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from modelyard_build.tensorrt_engine.profiles import Profile, Shapes

# Among a job's compute capabilities: that of the GPU of this machine.
CURRENT = "current"


@dataclass(frozen=True)
class Binding:
    """An input or output of an engine.

    Attributes:
        name: its name.
        mode: "input" or "output".
        dtype: Triton's datatype name.
        dims: all sizes, the batch first; -1 where they vary.
    """

    name: str
    mode: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """An engine that is to be built.

    Attributes:
        library: the module's name.
        graph: the ONNX file.
        engine: the file that is written.
        bindings: what the model declares; the network must have the same.
        profiles: the optimization profiles.
        version_compatible, hardware_compatibility, compute_capabilities, workspace_bytes: as in `EngineOptions`.
        timing_cache: the folder in which timing caches are kept.
        layers: the file that the engine inspector's report is written to, on a GPU; empty: none.
    """

    library: str
    graph: str
    engine: str
    bindings: tuple[Binding, ...]
    profiles: tuple[Profile, ...]
    version_compatible: bool
    hardware_compatibility: str
    compute_capabilities: tuple[str, ...]
    workspace_bytes: int | None
    timing_cache: str
    layers: str

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(line: str) -> Job:
        """The inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(line)
        fields["bindings"] = tuple(
            Binding(**{**binding, "dims": tuple(binding["dims"])}) for binding in fields["bindings"]
        )
        fields["profiles"] = tuple(_profile(profile) for profile in fields["profiles"])
        fields["compute_capabilities"] = tuple(fields["compute_capabilities"])
        return Job(**fields)


def _profile(fields: dict[str, Any]) -> Profile:
    return Profile(
        {
            name: Shapes(*(tuple(shapes[bound]) for bound in ("min", "opt", "max")))
            for name, shapes in fields["inputs"].items()
        }
    )
