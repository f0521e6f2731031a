"""Small PyTorch models that are declared like the real ones, for tests of the build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor as TorchTensor
from torch import nn

from modelyard_build import model as declare
from modelyard_build.model import Arrays

SEQUENCE = declare.Axis("sequence", 2, 24)


class Pooler(nn.Module):
    """Embeds tokens, normalises, averages under the mask: a MiniLM in small."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.embedding = nn.Embedding(50, 16)
        self.norm = nn.LayerNorm(16, eps=1e-3)
        self.out = nn.Linear(16, 5)
        # Small weights, so that the epsilon of the layer norm matters to the answer.
        nn.init.normal_(self.embedding.weight, std=0.05)

    def forward(self, input_ids: TorchTensor, attention_mask: TorchTensor) -> TorchTensor:
        """int64 [batch, sequence] twice -> float [batch, 5]."""
        weights = attention_mask.unsqueeze(-1).to(self.out.weight.dtype)
        states = self.norm(self.embedding(input_ids)) * weights
        scores: TorchTensor = self.out(states.sum(1) / weights.sum(1))
        return scores


def examples(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Random tokens; every second row is half padding."""
    generator = np.random.default_rng(batch)
    shape = (batch, sizes["sequence"])
    mask = np.ones(shape, np.int64)
    mask[1::2, shape[1] // 2 :] = 0
    return {"input_ids": generator.integers(1, 50, shape), "attention_mask": mask}


def load(files: Mapping[str, Path]) -> nn.Module:
    """The module, in eval mode."""
    return Pooler().eval()


POOLER = declare.Model(
    name="pooler",
    summary="a MiniLM in small",
    load=load,
    inputs=(
        declare.Tensor("input_ids", "INT64", (SEQUENCE,)),
        declare.Tensor("attention_mask", "INT64", (SEQUENCE,)),
    ),
    outputs=(declare.Tensor("scores", "FP32", (5,)),),
    examples=examples,
    assets={},
    max_batch_size=16,
    dynamic_batching=declare.DynamicBatching(1000, 64, 0),
)


def with_output(name: str) -> declare.Model:
    """The pooler with its output named otherwise."""
    return replace(POOLER, outputs=(declare.Tensor(name, "FP32", (5,)),))
