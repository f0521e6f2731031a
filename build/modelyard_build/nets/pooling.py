"""From the states of the tokens to one vector of a text."""

from __future__ import annotations

from torch import Tensor


def mean_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of [batch, sequence, width] over the tokens that are not padding: [batch, width]."""
    weights = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
