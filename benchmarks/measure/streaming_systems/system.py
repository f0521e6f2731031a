"""What the benchmark of streams has to know of a system."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure.served import Tensors
from modelyard_build.model import Array


@dataclass(frozen=True)
class Own:
    """What does the work of a system's step, in this process.

    Attributes:
        name: what it is.
        rate: items a second for requests that come together.
    """

    name: str
    rate: Callable[[Sequence[Tensors]], float]


@dataclass(frozen=True)
class Streamed:
    """How a system is asked, and what it is held against.

    Attributes:
        items: what its responses hold.
        size: what a request asks for unless another number is said: at least two responses have to come of it.
        request: `request(number, size)`: the inputs of a request; each number asks for something else.
        count: how many items a response holds.
        own: `own(repository, config_name)`: the same work without Triton.
    """

    items: str
    size: int
    request: Callable[[int, int], Tensors]
    count: Callable[[Mapping[str, Array]], int]
    own: Callable[[Path, str], Own]
