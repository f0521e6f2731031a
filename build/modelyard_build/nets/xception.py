"""Xception (Chollet, 2017, arXiv:1610.02357) as Keras has it, with two dense layers on top: X-rays to two scores.

The weights come out of a Keras 3 archive. Keras pads a halving layer at its end first ("same"), PyTorch on both sides
alike: see `_halving`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from modelyard_build.nets.keras_archive import Variables, read_variables

# The side of the square that the net was trained with.
SIZE = 150
HIDDEN, CLASSES = 128, 2
# What config.json says of every batch norm.
EPSILON = 1e-3
# Blocks 2 to 13: the outputs of each of their separable convolutions. Those of three keep the size, the others halve.
_BLOCKS = (
    (128, 128),
    (256, 256),
    (728, 728),
    *[(728, 728, 728)] * 8,
    (728, 1024),
)
_EXIT = (1536, 2048)
# The side of what enters each block that halves, by the block's number.
_SIDES = {2: 72, 3: 36, 4: 18, 13: 9}
# Keras' names of the convolution and the batch norm beside each block that halves.
_SHORTCUTS = {
    2: ("conv2d", "batch_normalization"),
    3: ("conv2d_1", "batch_normalization_1"),
    4: ("conv2d_2", "batch_normalization_2"),
    13: ("conv2d_3", "batch_normalization_3"),
}

Weights = Mapping[str, Variables]


class SeparableConv2d(nn.Module):
    """A 3 x 3 convolution of each channel alone, then one across channels; the batch norm is part of the latter."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Float [batch, inputs, height, width] -> [batch, outputs, height, width]."""
        mixed: Tensor = self.pointwise(self.depthwise(features))
        return mixed


class Block(nn.Module):
    """Separable convolutions beside a shortcut.

    Args:
        inputs: channels that enter.
        widths: outputs of each separable convolution.
        side: of what enters, where the block halves it; None where it keeps the size.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], side: int | None) -> None:
        super().__init__()
        entering = (inputs, *widths[:-1])
        self.separables = nn.ModuleList(SeparableConv2d(*pair) for pair in zip(entering, widths, strict=True))
        self.pool = nn.Identity() if side is None else _halving(side)
        self.shortcut = nn.Identity() if side is None else nn.Conv2d(inputs, widths[-1], 1, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Float [batch, inputs, height, width] -> [batch, widths[-1], height, width], or half of that, rounded up."""
        inner = features
        for separable in self.separables:
            inner = separable(functional.relu(inner))
        joined: Tensor = self.pool(inner) + self.shortcut(features)
        return joined


def _halving(side: int) -> nn.Module:
    """Max pooling that pads as Keras' "same": an even side at its end alone, an odd one at both."""
    return nn.MaxPool2d(3, 2, padding=side % 2, ceil_mode=True)


class Xception(nn.Module):
    """Pixels in, a score (logit) for each class out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 2)
        self.conv2 = nn.Conv2d(32, 64, 3)
        entering = (64, *(widths[-1] for widths in _BLOCKS))
        self.blocks = nn.Sequential(
            *(
                Block(inputs, widths, _SIDES.get(number))
                for number, (inputs, widths) in enumerate(zip(entering, _BLOCKS, strict=False), 2)
            )
        )
        self.exit1 = SeparableConv2d(entering[-1], _EXIT[0])
        self.exit2 = SeparableConv2d(*_EXIT)
        self.dense = nn.Linear(_EXIT[1], HIDDEN)
        self.scores = nn.Linear(HIDDEN, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, 150, 150, 3] -> float [batch, 2]."""
        # Keras' `xception.preprocess_input`: -1 to 1.
        images = (pixels.to(self.dense.weight.dtype) / 127.5 - 1).permute(0, 3, 1, 2)
        features = functional.relu(self.conv2(functional.relu(self.conv1(images))))
        features = functional.relu(self.exit1(self.blocks(features)))
        pooled = functional.relu(self.exit2(features)).mean((2, 3))
        scores: Tensor = self.scores(functional.relu(self.dense(pooled)))
        return scores


def load_xception(files: Mapping[str, Path]) -> Xception:
    """The net with its weights, float32, in eval mode.

    Args:
        files: `weights`, the Keras archive.

    Raises:
        ValueError: the archive holds other layers than its config lists.
        KeyError: it is of another net: a layer is missing.
    """
    weights = read_variables(files["weights"])
    net = Xception()
    state = dict(_state(weights))
    net.load_state_dict(state)
    return net.eval()


def _state(weights: Weights) -> Iterator[tuple[str, Tensor]]:
    """Every parameter by its name in `Xception`."""
    for number in (1, 2):
        (kernel,) = weights[f"block1_conv{number}"]
        yield from _folded(kernel, weights[f"block1_conv{number}_bn"], f"conv{number}")
    for number, widths in enumerate(_BLOCKS, 2):
        for index in range(len(widths)):
            own = f"blocks.{number - 2}.separables.{index}"
            yield from _separable(weights, f"block{number}_sepconv{index + 1}", own)
    for number, (convolution, norm) in _SHORTCUTS.items():
        yield from _folded(weights[convolution][0], weights[norm], f"blocks.{number - 2}.shortcut")
    for number in (1, 2):
        yield from _separable(weights, f"block14_sepconv{number}", f"exit{number}")
    for own, name in (("dense", "dense"), ("scores", "dense_1")):
        kernel, bias = weights[name]
        yield f"{own}.weight", torch.from_numpy(kernel.T.copy())
        yield f"{own}.bias", torch.from_numpy(bias.copy())


def _separable(weights: Weights, name: str, own: str) -> Iterator[tuple[str, Tensor]]:
    depthwise, pointwise = weights[name]
    # Keras has height, width, inputs, 1.
    yield f"{own}.depthwise.weight", torch.from_numpy(depthwise.transpose(2, 3, 0, 1).copy())
    yield from _folded(pointwise, weights[f"{name}_bn"], f"{own}.pointwise")


def _folded(kernel: npt.NDArray[np.float32], norm: Variables, own: str) -> Iterator[tuple[str, Tensor]]:
    """A convolution with the batch norm behind it as one, computed in float64.

    Every runtime does this when it loads the graph; done here, what is verified is what runs.
    """
    gamma, beta, mean, variance = (variable.astype(np.float64) for variable in norm)
    factor = gamma / np.sqrt(variance + EPSILON)
    # Keras has height, width, inputs, outputs.
    yield f"{own}.weight", torch.from_numpy((kernel * factor).transpose(3, 2, 0, 1).astype(np.float32))
    yield f"{own}.bias", torch.from_numpy((beta - mean * factor).astype(np.float32))
