"""The reference in float64, of modules whose code names another precision."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from modelyard_build.one_dtype import OneDtype


class NamesFloat32(nn.Module):
    """Makes float32 constants, rounds through float32, writes into a float32 tensor."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: FP32 [batch, 8]."""
        scaled = self.linear(x) @ torch.eye(8) * torch.tensor(1.5)
        kept = torch.zeros(scaled.shape, dtype=torch.float32)
        kept[:, :] = scaled.float()
        return kept.softmax(-1, dtype=torch.float32), kept.argmax(-1)


def test_every_operator_computes_in_float64() -> None:
    """The answers are float64, and nowhere rounded to float32 in between."""
    module = copy.deepcopy(NamesFloat32()).double()
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), OneDtype(torch.float64):
        probabilities, classes = module(x)
    weight, bias = module.linear.weight, module.linear.bias
    expected = ((x.double() @ weight.T + bias) * 1.5).softmax(-1)
    assert probabilities.dtype == torch.float64
    assert classes.dtype == torch.int64
    assert float((probabilities - expected).abs().max()) < 1e-15
