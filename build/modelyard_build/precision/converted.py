"""What a conversion gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx


@dataclass(frozen=True)
class Converted:
    """A graph in another precision.

    Attributes:
        proto: the graph, with the inputs and outputs of the float32 one.
        report: how it was made, for the manifest: small, plain JSON.
    """

    proto: onnx.ModelProto
    report: dict[str, Any]
