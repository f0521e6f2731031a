"""A transformer encoder with everything that a real one has, small and without fetched weights: MiniLM's own code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from modelyard_build import model as declare
from modelyard_build.model import Arrays
from modelyard_build.nets.minilm import token_states
from modelyard_build.nets.pooling import mean_pool

VOCABULARY = 64
WIDTH = 32
MAX_BATCH_SIZE = 16
SEQUENCE = declare.Axis("sequence", 2, 24)


class Encoder(nn.Module):
    """Two layers, two heads; the mean of the tokens, and the same with unit length."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=SEQUENCE.max,
            initializer_range=0.2,
            attn_implementation="eager",
        )
        self.bert = BertModel(config, add_pooling_layer=False)
        for name, parameter in self.named_parameters():
            # A fresh model has biases of 0 and scales of 1, which no lost weight could change.
            if name.endswith("bias") or "LayerNorm" in name:
                nn.init.normal_(parameter, mean=float("LayerNorm.weight" in name), std=0.1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [batch, sequence] twice -> float [batch, 32] twice."""
        pooled = mean_pool(token_states(self.bert, input_ids, attention_mask)[-1], attention_mask)
        return functional.normalize(pooled, dim=-1), pooled


def examples(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Random tokens; every second row is half padding, and the last one of a full batch is nothing else."""
    generator = np.random.default_rng(batch)
    shape = (batch, sizes["sequence"])
    mask = np.ones(shape, np.int64)
    mask[1::2, shape[1] // 2 :] = 0
    if batch == MAX_BATCH_SIZE:
        mask[-1] = 0
    return {"input_ids": generator.integers(1, VOCABULARY, shape) * mask, "attention_mask": mask}


def load(files: Mapping[str, Path]) -> nn.Module:
    """The module, in eval mode."""
    return Encoder().eval()


ENCODER = declare.Model(
    name="small_encoder",
    summary="a BERT in small",
    load=load,
    inputs=(
        declare.Tensor("input_ids", "INT64", (SEQUENCE,)),
        declare.Tensor("attention_mask", "INT64", (SEQUENCE,)),
    ),
    outputs=(declare.Tensor("embedding", "FP32", (WIDTH,)), declare.Tensor("pooled", "FP32", (WIDTH,))),
    examples=examples,
    assets={},
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=declare.DynamicBatching(1000, 64, 0),
)
