"""A model of the transformers library as `pytorch_module.py` serves it: made of its settings, its weights come after.

The build wraps a model in the same classes, whether it is exported or served as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

# Keeps the division of a row without tokens defined; the value of the sentence-transformers library.
_TINY = 1e-9
Pool = Callable[[Tensor, Tensor], Tensor]


class Served(nn.Module):
    """A model that answers with some of its outputs, by name."""

    def __init__(self, model: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.outputs = tuple(outputs)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Each input goes to the model under its own name; the batch is the first dimension of all."""
        found = self.model(**inputs)
        return {name: found[name] for name in self.outputs}


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


def dense(width_in: int, width_out: int, activation: str, *, bias: bool) -> nn.Sequential:
    """A linear layer with its activation, a class of torch.nn."""
    return nn.Sequential(nn.Linear(width_in, width_out, bias=bias), getattr(nn, activation)())


def make(kind: str, architecture: str, settings: Mapping[str, Any], pooler: bool, **wrapped: Any) -> nn.Module:
    """What `pytorch_module.py` calls with the arguments that module.json holds.

    Args:
        kind: "served" or "sentence_encoder".
        architecture: a class of transformers.
        settings: its config.
        pooler: False for one that was made without its pooling layer.
        wrapped: `outputs` of one that is `Served`; of a `SentenceEncoder` what it takes, with the arguments of `dense`
            for each of `layers`.
    """
    cls = getattr(transformers, architecture)
    config = cls.config_class.from_dict(dict(settings), attn_implementation="eager")
    model: nn.Module = cls(config) if pooler else cls(config, add_pooling_layer=False)
    if kind == "served":
        return Served(model, **wrapped)
    layers = [dense(**each) for each in wrapped.pop("layers")]
    return SentenceEncoder(model, layers=layers, **wrapped)
