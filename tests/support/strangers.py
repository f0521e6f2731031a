"""Modules as strangers write them, for the adoption of anyone's model to be tried on."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modelyard_build.model import Arrays

Moments = namedtuple("Moments", "mean spread")  # noqa: PYI024  # as strangers write them


@dataclass
class Answer:
    """What some libraries return."""

    loss: Tensor
    logits: Tensor
    cache: None = None


class Stranger(nn.Module):
    """A linear layer, and an answer made of what it gives.

    Args:
        answer: `answer(layer, inputs)`.
    """

    def __init__(self, answer: Callable[..., Any], size: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(size, 3)
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        """x: FP32 [batch, ..., size]."""
        return self.answer(self.layer, x)


def floats(*shape: int) -> Arrays:
    """One input `x`."""
    return {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}


class KeywordOnly(nn.Module):
    """Takes one input by position alone, one by keyword alone, and has an option."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, /, *, scale: Tensor, shift: bool = False) -> Tensor:
        """x: FP32 [batch, 4]; scale: FP32 [batch]."""
        found: Tensor = self.layer(x)
        return found * scale[:, None]


class Spread(nn.Module):
    """Takes any number of inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, *parts: Tensor) -> Tensor:
        """Each FP32 [batch, 4]."""
        found: Tensor = self.layer(sum(parts))
        return found


class Counting(nn.Module):
    """Remembers how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """x: FP32 [batch, 4]."""
        self.calls += 1
        found: Tensor = self.layer(x)
        return found


class Tokens(nn.Module):
    """Two inputs that must agree in their length, which a table of positions limits."""

    LONGEST = 40

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, 8)
        self.positions = nn.Embedding(self.LONGEST, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Both INT64 [batch, length]."""
        hidden = self.words(ids) + self.positions(torch.arange(ids.shape[1]))
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return {"logits": self.head(hidden), "pooled": pooled}


def tokens(items: int = 4, length: int = 12) -> Arrays:
    """Inputs for `Tokens`."""
    ids = np.random.default_rng(0).integers(0, 50, (items, length))
    return {"ids": ids, "mask": np.ones((items, length), np.int64)}


class Recurrent(nn.Module):
    """Returns its state with the batch as the second dimension, as PyTorch's own layers do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.GRU(4, 6, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: FP32 [batch, length, 4]."""
        found: tuple[Tensor, Tensor] = self.layer(x)
        return found


class Branching(nn.Module):
    """Python decides by the length; a graph holds one of the ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: FP32 [batch, length, 4]."""
        if x.shape[1] > 32:
            x = x[:, :32]
        found: Tensor = self.layer(x)
        return found.mean(1)


class Looping(nn.Module):
    """Goes through the steps in Python."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """x: FP32 [batch, length, 4]."""
        state = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            state = torch.tanh(self.layer(x[:, step]) + state)
        return state


class ByValue(nn.Module):
    """Python decides by the values of each item."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: FP32 [batch, 4]."""
        return torch.stack([self.layer(row) if row.sum() > 0 else -self.layer(row) for row in x])
