"""all-MiniLM-L6-v2: a 6-layer BERT of 22.7 M parameters that turns a text into 384 numbers (Apache-2.0).

Pooling and normalisation follow the model's own card: the mean of the token states under the attention mask, then
unit length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, BertTokenizerFast

from modelyard_build.model import Arrays

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


def mean_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of [batch, sequence, 384] over the tokens that are not padding: [batch, 384]."""
    weights = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


class SentenceEncoder(nn.Module):
    """Tokens in, a unit-length embedding out."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [batch, sequence] twice -> float [batch, 384]."""
        pooled = mean_pool(token_states(self.bert, input_ids, attention_mask)[-1], attention_mask)
        return functional.normalize(pooled, dim=-1)


def tokenize(files: Mapping[str, Path], texts: Sequence[str], max_length: int) -> Arrays:
    """What the transformers library makes of the texts: the reference for the tokenizer that is served.

    Returns:
        `input_ids` and `attention_mask`, int64 [n, longest], padded to the longest of them.
    """
    tokenizer = BertTokenizerFast(tokenizer_file=str(files["tokenizer"]), model_max_length=max_length)
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length, padding="longest", return_tensors="np")
    return {name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
