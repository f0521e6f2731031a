"""Weights of the graph against the module's, where the exporter merged layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from modelyard_build.errors import ExportFailed
from modelyard_build.export import export
from modelyard_build.model import Arrays, Tensor
from modelyard_build.weight_checks import check_weights
from support.small_models import POOLER

IMAGES = np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)


def examples(files: object, batch: int, sizes: object) -> Arrays:
    return {"image": IMAGES[:batch]}


CONVOLUTION = replace(
    POOLER,
    inputs=(Tensor("image", "FP32", (3, 8, 8)),),
    outputs=(Tensor("features", "FP32", (4, 6, 6)),),
    examples=examples,
)


class Convolution(nn.Module):
    """A convolution and a batch norm with statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        for tensor in (self.norm.running_mean, self.norm.running_var, self.norm.weight.data, self.norm.bias.data):
            assert tensor is not None
            tensor.copy_(torch.rand(4) + 0.5)
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images, float [batch, 3, 8, 8], to float [batch, 4, 6, 6]."""
        result: torch.Tensor = self.norm(self.convolution(image))
        return result


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return export(CONVOLUTION, Convolution(), {})


def test_batch_norm_merged_into_a_convolution_passes(graph: onnx.ModelProto) -> None:
    """The exporter scales a convolution's channels by the batch norm behind it: those are the module's weights."""
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    check_weights(CONVOLUTION, Convolution(), graph)


def test_changed_element_of_a_merged_convolution_is_found(graph: onnx.ModelProto) -> None:
    """Of a scaled weight, one element that differs from its channel's others is still found."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    weight = next(tensor for tensor in changed.graph.initializer if tensor.name == "convolution.weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[1, 2, 0, 1] *= 1.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    with pytest.raises(ExportFailed, match=r"convolution\.weight"):
        check_weights(CONVOLUTION, Convolution(), changed)
