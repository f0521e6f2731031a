"""ResNet-50 of 2015 as Keras has it, in PyTorch: the net, and its weights out of TensorFlow.js shards.

Version 1 of the architecture (He et al., 2015, arXiv:1512.03385): where a stage halves the image, its first 1x1
convolution does, not the 3x3 one as in torchvision's. The weights are made for BGR images with the mean of ImageNet
taken off. Both stand in here, so that the net takes pixels as they are: the flip in the first convolution's weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 1000
# Of ImageNet's training images, in the order red, green, blue.
CHANNEL_MEANS = (123.68, 116.779, 103.939)
# What model.json says of every batch norm.
EPSILON = 1e-3
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))

Weights = Mapping[str, npt.NDArray[np.float32]]


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut; batch norms are part of the convolutions."""

    def __init__(self, inputs: int, width: int, stride: int, projects: bool) -> None:
        super().__init__()
        self.branch2a = nn.Conv2d(inputs, width, 1, stride)
        self.branch2b = nn.Conv2d(width, width, 3, padding=1)
        self.branch2c = nn.Conv2d(width, 4 * width, 1)
        self.branch1 = nn.Conv2d(inputs, 4 * width, 1, stride) if projects else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Float [batch, inputs, height, width] -> [batch, 4 * width, height / stride, width / stride]."""
        inner = functional.relu(self.branch2a(features))
        inner = functional.relu(self.branch2b(inner))
        return functional.relu(self.branch2c(inner) + self.branch1(features))


class ResNet50(nn.Module):
    """Pixels in, the probability of each ImageNet class out."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(CHANNEL_MEANS))
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3)
        self.blocks = nn.Sequential(*_blocks().values())
        self.fc1000 = nn.Linear(2048, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, height, width, 3], red first -> float [batch, 1000], each row summing to 1."""
        # The means go before the padding with zeros does its work, so they cannot be part of the bias.
        images = (pixels.to(self.means.dtype) - self.means).permute(0, 3, 1, 2)
        features = functional.max_pool2d(functional.relu(self.conv1(images)), 3, 2, padding=1)
        pooled = self.blocks(features).mean((2, 3))
        logits: Tensor = self.fc1000(pooled)
        return logits.softmax(-1)


def _blocks() -> dict[str, Bottleneck]:
    """Every block by Keras' name of it ("2a" to "5c"), in order."""
    found: dict[str, Bottleneck] = {}
    inputs = 64
    for stage, (width, count) in enumerate(_STAGES, 2):
        for index in range(count):
            stride = 2 if index == 0 and stage > 2 else 1
            found[f"{stage}{'abcdef'[index]}"] = Bottleneck(inputs, width, stride, projects=index == 0)
            inputs = 4 * width
    return found


def load_resnet50(files: Mapping[str, Path]) -> ResNet50:
    """The net with ImageNet's weights, float32, in eval mode.

    Args:
        files: `topology` (model.json) and each shard by its name.

    Raises:
        ValueError: a weight is missing or left over.
    """
    weights = read_weights(files)
    net = ResNet50()
    state = {"means": net.means, "fc1000.weight": torch.from_numpy(weights["fc1000/kernel"].T.copy())}
    state["fc1000.bias"] = torch.from_numpy(weights["fc1000/bias"].copy())
    state.update(_folded(weights, "conv1", "bn_conv1", "conv1"))
    # Keras' first convolution takes blue first.
    state["conv1.weight"] = state["conv1.weight"].flip(1)
    for position, (name, block) in enumerate(_blocks().items()):
        for branch, layer in block.named_children():
            if isinstance(layer, nn.Conv2d):
                own = f"blocks.{position}.{branch}"
                state.update(_folded(weights, f"res{name}_{branch}", f"bn{name}_{branch}", own))
    net.load_state_dict(state)
    return net.eval()


def _folded(weights: Weights, convolution: str, norm: str, own: str) -> dict[str, Tensor]:
    """A convolution with the batch norm behind it as one, computed in float64.

    Every runtime does this when it loads the graph; done here, what is verified and what is quantised is what runs.
    """
    kernel = weights[f"{convolution}/kernel"].astype(np.float64)
    factor = weights[f"{norm}/gamma"] / np.sqrt(weights[f"{norm}/moving_variance"].astype(np.float64) + EPSILON)
    bias = (weights[f"{convolution}/bias"] - weights[f"{norm}/moving_mean"]) * factor + weights[f"{norm}/beta"]
    return {
        # Keras has height, width, inputs, outputs.
        f"{own}.weight": torch.from_numpy((kernel * factor).transpose(3, 2, 0, 1).astype(np.float32)),
        f"{own}.bias": torch.from_numpy(bias.astype(np.float32)),
    }


def read_weights(files: Mapping[str, Path]) -> dict[str, npt.NDArray[np.float32]]:
    """Every weight by its Keras name, out of TensorFlow.js' shards: raw little-endian float32, one after another.

    Raises:
        ValueError: the shards are longer or shorter than the topology says.
    """
    found: dict[str, npt.NDArray[np.float32]] = {}
    for group in json.loads(files["topology"].read_text())["weightsManifest"]:
        content = np.frombuffer(b"".join(files[name].read_bytes() for name in group["paths"]), "<f4")
        start = 0
        for weight in group["weights"]:
            size = int(np.prod(weight["shape"]))
            found[weight["name"]] = content[start : start + size].reshape(weight["shape"])
            start += size
        if start != content.size:
            raise ValueError(f"the shards hold {content.size} numbers; the topology lists {start}")
    return found
