"""A text encoder with what makes one vector of its token states, as the sentence-transformers library lays it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from modelyard_build.adoption.checkpoints import read_state
from modelyard_build.errors import AdoptionFailed

# Keeps the division of a row without tokens defined; the library's own value.
_TINY = 1e-9
Pool = Callable[[Tensor, Tensor], Tensor]


def _first(states: Tensor, weights: Tensor) -> Tensor:
    return states[:, 0]


def _last(states: Tensor, weights: Tensor) -> Tensor:
    """The state of the last token that is not padding; the sequence is padded on the right."""
    at = (weights.sum(1, keepdim=True).long() - 1).clamp(min=0)
    return states.gather(1, at.expand(-1, 1, states.shape[2])).squeeze(1)


def _max(states: Tensor, weights: Tensor) -> Tensor:
    return states.masked_fill(weights == 0, -(_TINY**-1)).amax(1)


def _mean(states: Tensor, weights: Tensor) -> Tensor:
    return (states * weights).sum(1) / weights.sum(1).clamp(min=_TINY)


def _mean_by_root(states: Tensor, weights: Tensor) -> Tensor:
    return (states * weights).sum(1) / weights.sum(1).clamp(min=_TINY).sqrt()


def _mean_by_position(states: Tensor, weights: Tensor) -> Tensor:
    """Later tokens of a decoder have seen more: the n-th counts n times."""
    positions = torch.arange(1, states.shape[1] + 1, dtype=states.dtype, device=states.device)
    return _mean(states, weights * positions[None, :, None])


# The library's names for them; the states and the mask as float [batch, sequence, 1] in, [batch, width] out.
POOLS: Mapping[str, Pool] = {
    "cls": _first,
    "lasttoken": _last,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _mean_by_position,
}


class SentenceEncoder(nn.Module):
    """Tokens in, one vector out: the encoder, pooling, further layers, and unit length where it is asked for."""

    def __init__(
        self, model: nn.Module, pooling: Sequence[str], layers: Sequence[nn.Module] = (), *, normalise: bool
    ) -> None:
        """The parts, in the order in which a text passes them.

        Args:
            model: gives `last_hidden_state`.
            pooling: keys of `POOLS`; the results of several stand side by side.
            layers: what follows the pooling.
            normalise: whether the vector gets unit length.
        """
        super().__init__()
        self.model = model
        self.layers = nn.Sequential(*layers)
        self.pooling = tuple(pooling)
        self.normalise = normalise

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """int64 [batch, sequence] twice -> `embedding`, float [batch, width]."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask)["last_hidden_state"]
        weights = attention_mask[:, :, None].to(states.dtype)
        embedding = self.layers(torch.cat([POOLS[name](states, weights) for name in self.pooling], dim=-1))
        return {"embedding": functional.normalize(embedding, dim=-1) if self.normalise else embedding}


def load_dense(path: Path, activation: str) -> nn.Module:
    """A linear layer with its activation, as the library stores it.

    Args:
        path: its weights, `linear.weight` and perhaps `linear.bias`.
        activation: a class of torch.nn.

    Raises:
        AdoptionFailed: the file holds something else.
    """
    tensors = read_state(path)
    if not {"linear.weight"} <= set(tensors) <= {"linear.weight", "linear.bias"}:
        raise AdoptionFailed(
            f"{path} holds {', '.join(sorted(tensors)[:4])}; expected is linear.weight, and linear.bias where there is "
            "one. Fetch the folder again."
        )
    width_out, width_in = tensors["linear.weight"].shape
    linear = nn.Linear(width_in, width_out, bias="linear.bias" in tensors)
    linear.load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in tensors.items()})
    return nn.Sequential(linear, getattr(nn, activation)())
