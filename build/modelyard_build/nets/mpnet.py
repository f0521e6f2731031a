"""all-mpnet-base-v2: a 12-layer MPNet of 109.5 M parameters that turns a text into 768 numbers (Apache-2.0).

Pooling and normalisation follow the model's own card: the mean of the token states under the attention mask, then
unit length. MPNet (Song et al., 2020, arXiv:2004.09297) adds to each attention score a number that depends on how far
apart the two tokens are: T5's relative position bias, the same in every layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import MPNetConfig, MPNetModel

from modelyard_build.nets.pooling import mean_pool


def load_mpnet(files: Mapping[str, Path]) -> MPNetModel:
    """The pretrained encoder without its unused pooler, float32, in eval mode."""
    config = MPNetConfig(**json.loads(files["config"].read_text()), attn_implementation="eager")
    mpnet = MPNetModel(config, add_pooling_layer=False)
    weights = {name: tensor for name, tensor in load_file(files["weights"]).items() if not name.startswith("pooler.")}
    # The upstream file also stores this constant; the module makes it itself.
    weights.pop("embeddings.position_ids", None)
    mpnet.load_state_dict(weights, strict=True)
    return cast(MPNetModel, mpnet.eval())


class PassageEncoder(nn.Module):
    """Tokens in, a unit-length embedding out.

    The layers are run here and not by `MPNetModel.forward`, for the relative position bias: the library finds the
    bucket of a distance with a float32 logarithm that it truncates. At a distance of 16, 32 or 64 the exact result is
    a whole number, so that a runtime whose logarithm is off by one unit in the last place takes the bucket below. Here
    the buckets of all distances are a constant, as PyTorch computes them, and the bias is not repeated for each item.
    """

    def __init__(self, mpnet: MPNetModel) -> None:
        super().__init__()
        self.mpnet = mpnet
        # Positions are counted from behind the one of padding.
        self.longest = mpnet.config.max_position_embeddings - mpnet.config.pad_token_id - 1
        distances = torch.arange(1 - self.longest, self.longest)
        buckets = mpnet.encoder.relative_position_bucket(distances, mpnet.config.relative_attention_num_buckets)
        self.register_buffer("buckets", buckets, persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [batch, sequence] twice -> float [batch, hidden]."""
        states = self.mpnet.embeddings(input_ids=input_ids)
        hidden = (1.0 - attention_mask[:, None, None, :].to(states.dtype)) * torch.finfo(states.dtype).min
        bias = self.position_bias(input_ids.shape[1]) + hidden
        for layer in self.mpnet.encoder.layer:
            states = layer(states, position_bias=bias)[0]
        return functional.normalize(mean_pool(states, attention_mask), dim=-1)

    def position_bias(self, length: int) -> Tensor:
        """What is added to the scores of texts of `length` tokens: float [1, heads, length, length]."""
        of_distance = self.mpnet.encoder.relative_attention_bias(self.buckets)
        position = torch.arange(length, device=of_distance.device)
        distance = position[None, :] - position[:, None]
        return functional.embedding(distance + (self.longest - 1), of_distance).permute(2, 0, 1).unsqueeze(0)
