"""What the rules about tensors share: the tensors of a config, what may stand there, and how messages call them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard_build.repository.lint.memo import remembered
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.model_config import model_config_pb2

INVALID = 0
VARIABLE = -1
# Backends that complete nothing of a tensor that is listed.
_COMPLETE_NO_TENSOR = ("onnxruntime", "openvino", "pytorch", "ensemble")


@dataclass(frozen=True)
class Stated:
    """An input or output of a config.

    Attributes:
        kind: "input" or "output".
        index: among those of its kind.
        message: what the config says of it.
    """

    kind: str
    index: int
    message: Any

    @property
    def name(self) -> str:
        """As stated."""
        return str(self.message.name)

    @property
    def path(self) -> tuple[str, int]:
        """Where it stands."""
        return self.kind, self.index

    @property
    def shape(self) -> tuple[int, ...]:
        """What the backend sees, without the batch."""
        sizes = self.message.reshape.shape if self.message.HasField("reshape") else self.message.dims
        return tuple(sizes)

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else f"{self.kind} {self.index}"


@remembered
def stated_tensors(config: Config) -> list[Stated]:
    """Every input, then every output."""
    inputs = [Stated("input", index, message) for index, message in enumerate(config.message.input)]
    outputs = [Stated("output", index, message) for index, message in enumerate(config.message.output)]
    return inputs + outputs


def may_be_completed(config: Config) -> bool:
    """Whether the backend may fill in what a listed tensor lacks; also where it cannot be known."""
    if config.backend in _COMPLETE_NO_TENSOR:
        return False
    return config.backend != "python" or model_py_may_complete(config)


def model_py_may_complete(config: Config) -> bool:
    """Whether the model.py of a served version may complete the config; also where none tells."""
    artefacts = config.artefacts
    return not artefacts or any(artefact.details.get("completes", True) for _, artefact in artefacts)


def is_size(size: int) -> bool:
    """Whether a number may stand in dims: 1 or more, or -1 for a size that varies."""
    return size >= 1 or size == VARIABLE


def dtype_name(number: int) -> str:
    """A type as config.pbtxt has it; the number where it has none."""
    known = model_config_pb2.DataType.DESCRIPTOR.values_by_number
    return str(known[number].name) if number in known else str(number)


def brackets(sizes: Sequence[int]) -> str:
    """Sizes as config.pbtxt has them: [ -1, 384 ]."""
    return f"[ {', '.join(map(str, sizes))} ]" if sizes else "[ ]"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of a sentence about a name that is not known; empty where none is close."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
