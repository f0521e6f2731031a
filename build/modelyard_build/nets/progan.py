"""The generator of a progressively grown GAN (Karras et al., 2017, arXiv:1710.10196) in PyTorch, and its weights.

Noise becomes 4 x 4 pixels of features, which are doubled in size again and again, with two convolutions at each size;
after each, the features of a pixel are scaled to a mean square of 1. So is the noise, first of all: its length means
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from modelyard_build.nets.tfjs import read_weights

# Of the features at 4 x 4, 8 x 8... 128 x 128 pixels.
CHANNELS = (512, 512, 512, 512, 256, 128)
LATENT = 512
# What the graph adds under each root, and the slope of its LeakyReLU.
EPSILON = 1e-8
SLOPE = 0.2
START = 4

Weights = Mapping[str, npt.NDArray[Any]]


class ProGan(nn.Module):
    """Noise in, images out."""

    def __init__(self, latent: int = LATENT, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        self.project = nn.Linear(latent, channels[0] * START * START)
        inputs = (channels[0], *channels[:-1])
        self.first = nn.ModuleList(
            nn.Conv2d(before, own, 3, padding=1) if size else nn.Identity()
            for size, (before, own) in enumerate(zip(inputs, channels, strict=True))
        )
        self.second = nn.ModuleList(nn.Conv2d(own, own, 3, padding=1) for own in channels)
        self.colours = nn.Conv2d(channels[-1], 3, 1)

    def forward(self, latent: Tensor) -> Tensor:
        """Float [batch, latent] -> float [batch, side, side, 3], red first, from 0 to 1."""
        features = self.project(_normalised(latent)).unflatten(1, (-1, START, START))
        for size, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            if size:
                features = first(functional.interpolate(features, scale_factor=2.0, mode="nearest"))
            features = _activated(second(_activated(features)))
        colours: Tensor = self.colours(features)
        return colours.clamp(0, 1).permute(0, 2, 3, 1)


def _activated(features: Tensor) -> Tensor:
    return _normalised(functional.leaky_relu(features, SLOPE))


def _normalised(features: Tensor) -> Tensor:
    return features * torch.rsqrt(features.square().mean(1, keepdim=True) + EPSILON)


def load_progan(files: Mapping[str, Path]) -> ProGan:
    """The net with TensorFlow's weights; its sizes follow from them.

    Args:
        files: `topology`, and every shard under its own name.
    """
    weights = read_weights(files["topology"], files)
    count = sum(name.endswith("/merged_input") for name in weights)
    kernels = [weights[_kernel(number)] for number in range(count)]
    net = ProGan(kernels[0].shape[2], tuple(kernel.shape[3] for kernel in kernels[1:-1:2]))
    state = _projection(kernels[0], weights[_bias(0)])
    for number, kernel in enumerate(kernels[1:-1], 1):
        own = f"{('first', 'second')[number % 2]}.{number // 2}"
        state[f"{own}.weight"] = _turned(kernel)
        state[f"{own}.bias"] = torch.tensor(weights[_bias(number)])
    net.load_state_dict({**state, **_colours(kernels[-1], weights[f"module_apply_default/add_{2 * count}"])})
    return net.eval()


def _kernel(number: int) -> str:
    """What the converter calls a convolution's weights, with the scale of the equalised learning rate in them."""
    return f"module_apply_default/Conv2D{f'_{number}' if number else ''}/merged_input"


def _bias(number: int) -> str:
    return f"module/g_model/res_{number // 2}/conv{number % 2}/bias"


def _projection(kernel: npt.NDArray[Any], bias: npt.NDArray[Any]) -> dict[str, Tensor]:
    """A convolution over one pixel amid zeros, as the matrix that it is: each place sees one tap of the kernel."""
    taps = kernel[::-1, ::-1].transpose(3, 0, 1, 2)
    return {
        "project.weight": torch.tensor(taps.reshape(-1, kernel.shape[2])),
        "project.bias": torch.tensor(np.repeat(bias, START * START)),
    }


def _turned(kernel: npt.NDArray[Any]) -> Tensor:
    """TensorFlow has height, width, inputs, outputs."""
    return torch.tensor(kernel.transpose(3, 2, 0, 1).copy())


def _colours(kernel: npt.NDArray[Any], bias: npt.NDArray[Any]) -> dict[str, Tensor]:
    """The last convolution, at half of the contrast that the package's graph has.

    The net was trained for -1 to 1, and a pixel is (value + 1) / 2. The graph adds 0.5 but has lost the factor: 99 % of
    its values lie between -0.52 and 1.52, and 45 % of them are cut off at 0 and 1. Halved around 0.5, 99 % lie between
    -0.01 and 1.01.
    """
    return {"colours.weight": _turned(kernel / 2), "colours.bias": torch.tensor((bias + 0.5) / 2)}
