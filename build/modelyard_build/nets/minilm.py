"""all-MiniLM-L6-v2: a 6-layer BERT of 22.7 M parameters that turns a text into 384 numbers (Apache-2.0).

Pooling and normalisation follow the model's own card: the mean of the token states under the attention mask, then
unit length.
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
from transformers import BertConfig, BertModel

from modelyard_build.nets.pooling import mean_pool

HIDDEN_SIZE = 384


def load_bert(files: Mapping[str, Path]) -> BertModel:
    """The pretrained encoder without its unused pooler, float32, in eval mode.

    "eager" attention, because it traces to plain MatMul and Softmax: sdpa brings a NaN guard and mask gathering into
    the graph that no runtime fuses.
    """
    config = BertConfig(**json.loads(files["config"].read_text()), attn_implementation="eager")
    bert = BertModel(config, add_pooling_layer=False)
    weights = {name: tensor for name, tensor in load_file(files["weights"]).items() if not name.startswith("pooler.")}
    # The upstream file also stores this constant; the module makes it itself.
    weights.pop("embeddings.position_ids", None)
    bert.load_state_dict(weights, strict=True)
    return cast(BertModel, bert.eval())


def token_states(bert: BertModel, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
    """The hidden states after the embedding and each layer.

    Args:
        bert: the encoder.
        input_ids: int64 [batch, sequence].
        attention_mask: int64 [batch, sequence], 1 at a token and 0 at padding.

    Returns:
        One tensor [batch, sequence, 384] for the embedding and each of the 6 layers.
    """
    mask = attention_mask[:, None, None, :].to(bert.dtype)
    output = bert(
        input_ids=input_ids,
        attention_mask=(1.0 - mask) * torch.finfo(bert.dtype).min,
        token_type_ids=torch.zeros_like(input_ids),
        output_hidden_states=True,
    )
    return cast("tuple[Tensor, ...]", output.hidden_states)


class SentenceEncoder(nn.Module):
    """Tokens in, a unit-length embedding out."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [batch, sequence] twice -> float [batch, 384]."""
        pooled = mean_pool(token_states(self.bert, input_ids, attention_mask)[-1], attention_mask)
        return functional.normalize(pooled, dim=-1)
