"""What each release of Triton's container can read: a table in data, not code."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from modelyard_build.errors import BuildError

TABLE = Path(__file__).with_name("releases.json")
# The oldest release that is advised for production: earlier ones have known remote holes.
DEFAULT_RELEASE = "26.06"

# The release to build for. The image of deploy/build sets it, once it is proven to have the TensorRT of its server.
RELEASE_VARIABLE = "MODELYARD_TRITON_RELEASE"


@dataclass(frozen=True)
class Release:
    """One release of NVIDIA's container.

    Attributes:
        name: as in the image's tag, such as "26.06".
        triton: Triton's own version.
        onnxruntime: the version of ONNX Runtime inside.
        max_opset: the newest ONNX opset that it loads.
        max_ir_version: the newest ONNX IR version that it loads.
        cuda: the version of CUDA inside.
        tensorrt: the version of TensorRT inside; None where only the image itself tells.
    """

    name: str
    triton: str
    onnxruntime: str
    max_opset: int
    max_ir_version: int
    cuda: str
    tensorrt: str | None


def target_release() -> Release:
    """The release that artefacts are made for.

    Raises:
        BuildError: `MODELYARD_TRITON_RELEASE` names one that the table does not know.
    """
    return release(os.environ.get(RELEASE_VARIABLE) or DEFAULT_RELEASE)


def release(name: str) -> Release:
    """Looks a release up.

    Raises:
        BuildError: the table does not know it.
    """
    table = json.loads(TABLE.read_text())["releases"]
    if name not in table:
        raise BuildError(f"Triton release {name!r} is not in the table; it knows {', '.join(table)}.")
    return Release(name=name, **table[name])
