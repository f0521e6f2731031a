"""Small graphs and sources for the tests of precision: a seeded transformer block, a convnet, graphs that overflow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor as TorchTensor
from torch import nn

from modelyard_build import model as declare
from modelyard_build.export import export
from modelyard_build.model import Array, Arrays
from modelyard_build.repository.releases import DEFAULT_RELEASE, release
from modelyard_build.targets.target import Source

Examples: TypeAlias = Callable[[Mapping[str, Path], int, Mapping[str, int]], Arrays]
WIDTH = 32
SEQUENCE = declare.Axis("sequence", 2, 24)


@dataclass
class Lines:
    """A progress that remembers what it was told."""

    steps: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, model: str, step: str) -> Iterator[None]:
        """Remembers a step."""
        self.steps.append(step)
        yield

    def say(self, line: str) -> None:
        """Remembers a line."""
        self.said.append(line)


class Block(nn.Module):
    """Attention and a feed-forward part over embedded tokens, pooled under the mask."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(100, WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm, self.last_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, input_ids: TorchTensor, attention_mask: TorchTensor) -> TorchTensor:
        """int64 [batch, sequence] twice -> float [batch, 32]."""
        states = self.embedding(input_ids)
        mask = (1.0 - attention_mask[:, None, :].to(states.dtype)) * torch.finfo(torch.float32).min
        scores = self.query(states) @ self.key(states).transpose(1, 2) * WIDTH**-0.5 + mask
        states = self.norm(states + self.out(scores.softmax(-1) @ self.value(states)))
        states = self.last_norm(states + self.down(nn.functional.gelu(self.up(states))))
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(pooled, dim=-1)


class ConvNet(nn.Module):
    """Two convolutions, one of them in groups, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.head = nn.Linear(16, 5)

    def forward(self, image: TorchTensor) -> TorchTensor:
        """Images, float [batch, 3, 16, 16] -> float [batch, 5]."""
        features = self.grouped(self.first(image).relu()).relu()
        scores: TorchTensor = self.head(features.mean((2, 3)))
        return scores


def tokens(seed: int) -> Examples:
    """Random tokens without padding; another seed gives others."""

    def make(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
        shape = (batch, sizes["sequence"])
        generator = np.random.default_rng([seed, *shape])
        return {"input_ids": generator.integers(1, 100, shape), "attention_mask": np.ones(shape, np.int64)}

    return make


def images(seed: int) -> Examples:
    """Random images; another seed gives others."""

    def make(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
        generator = np.random.default_rng([seed, batch])
        return {"image": generator.normal(size=(batch, 3, 16, 16)).astype(np.float32)}

    return make


BLOCK = declare.Model(
    name="block",
    summary="a transformer in small",
    load=lambda files: Block().eval(),
    inputs=(
        declare.Tensor("input_ids", "INT64", (SEQUENCE,)),
        declare.Tensor("attention_mask", "INT64", (SEQUENCE,)),
    ),
    outputs=(declare.Tensor("embedding", "FP32", (WIDTH,)),),
    examples=tokens(1),
    calibration=tokens(2),
    assets={},
    max_batch_size=16,
    dynamic_batching=declare.DynamicBatching(1000, 64, 0),
)
CONVNET = replace(
    BLOCK,
    name="convnet",
    load=lambda files: ConvNet().eval(),
    inputs=(declare.Tensor("image", "FP32", (3, 16, 16)),),
    outputs=(declare.Tensor("scores", "FP32", (5,)),),
    examples=images(1),
    calibration=images(2),
)


def exported(model: declare.Model, folder: Path) -> Path:
    """The model's float32 graph as a file."""
    path = folder / f"{model.name}.onnx"
    onnx.save(export(model, model.load({}), {}), path)
    return path


def source(model: declare.Model, path: Path, progress: Lines | None = None) -> Source:
    """What a conversion gets: a model without assets and its float32 graph."""
    return Source(
        model, {}, lambda: model.load({}), lambda precision: path, release(DEFAULT_RELEASE), progress or Lines()
    )


def vector_model(name: str, values: Callable[[int], Array]) -> declare.Model:
    """The declaration of a graph written by hand: `x` FP32 [8] in, `y` FP32 [8] out."""

    def make(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
        return {"x": values(batch).astype(np.float32)}

    return replace(
        BLOCK,
        name=name,
        inputs=(declare.Tensor("x", "FP32", (8,)),),
        outputs=(declare.Tensor("y", "FP32", (8,)),),
        examples=make,
        calibration=make,
        graph="graph",
    )


def graph_of(nodes: list[onnx.NodeProto], constants: Mapping[str, Array], opset: int = 20) -> onnx.ModelProto:
    """A graph from `x`, float32 [batch, 8], to `y`, of the same type and shape."""
    shape: list[str | int | None] = ["batch", 8]
    made = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
