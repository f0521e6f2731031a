"""What an artefact says of itself: the tensors it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ArtefactTensor:
    """One input or output of an artefact.

    Attributes:
        data_type: In Triton's words, ``TYPE_FP32``.
        dims: The whole shape, the batch dimension included; -1 where it is dynamic.
    """

    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """The tensors of an artefact, by name.

    Attributes:
        artefact: What error messages call it, ``1/model.onnx``.
        inputs: Those that every run needs.
        outputs: Those that a run can give.
        overridable: Inputs with a value in the artefact, which a run may replace (ONNX: initializers that are also
            graph inputs).
    """

    artefact: str
    inputs: Mapping[str, ArtefactTensor]
    outputs: Mapping[str, ArtefactTensor]
    overridable: Mapping[str, ArtefactTensor] = field(default_factory=dict)


def show_dims(dims: tuple[int, ...]) -> str:
    """``[-1,384]``, as Triton prints shapes."""
    return f"[{','.join(str(dim) for dim in dims)}]"
