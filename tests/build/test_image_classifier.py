"""What the image classifier is judged by: its labels, the kinds of CIFAR-10, the figures."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from modelyard_build.datasets import cifar10, imagenet, photographs
from modelyard_build.models.image_classifier import figures
from modelyard_build.nets.resnet50 import ResNet50


def test_every_label_is_another() -> None:
    """A client tells classes apart by their labels; ImageNet's list has two names twice."""
    assert len(set(imagenet.LABELS)) == 1000
    assert all(label.strip() == label != "" for label in imagenet.LABELS)


def test_kinds_are_made_of_classes_that_exist() -> None:
    """Each class belongs to one kind at most; the photographs' contents are classes too."""
    classes = list(chain.from_iterable(cifar10.IMAGENET_CLASSES.values()))
    assert len(classes) == len(set(classes)) == 220
    assert set(classes) <= set(imagenet.LABELS)
    assert set(cifar10.KINDS) - cifar10.IMAGENET_CLASSES.keys() == {"deer"}
    assert set(chain.from_iterable(photographs.CONTENTS.values())) <= set(imagenet.LABELS)
    assert photographs.CONTENTS.keys() <= photographs.VERIFIED.keys()


def test_no_photograph_is_calibrated_and_verified_with() -> None:
    """int8 must not be judged on what it took its ranges from."""
    assert not photographs.VERIFIED.keys() & photographs.CALIBRATION.keys()


def test_figures_count_kinds_and_photographs() -> None:
    """A kind wins by its sum over classes, not by its best class; a photograph by its best class alone."""
    probabilities = np.zeros((2 + len(photographs.CONTENTS), 1000))
    # 0.3 for the one horse, 0.5 for dogs in five parts.
    probabilities[:2, imagenet.LABELS.index("sorrel")] = 0.3
    probabilities[:2, imagenet.LABELS.index("Chihuahua") : imagenet.LABELS.index("Chihuahua") + 5] = 0.1
    for row, names in enumerate(photographs.CONTENTS.values(), start=2):
        probabilities[row, imagenet.LABELS.index(names[-1])] = 1
    probabilities[-1] = np.roll(probabilities[-1], 1)
    truth = [cifar10.KINDS.index("dog"), cifar10.KINDS.index("horse"), *(-1 - np.arange(len(photographs.CONTENTS)))]
    found = figures({"probabilities": probabilities}, np.array(truth))
    assert found == {"CIFAR-10 accuracy": 0.5, "photographs right": pytest.approx(0.8)}


def test_the_net_takes_bytes_and_gives_probabilities() -> None:
    """With whatever weights; each stage but the first halves the image in its first convolution, as Keras does."""
    net = ResNet50().eval()
    with torch.inference_mode():
        answer = net(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))
    assert answer.shape == (2, 1000)
    assert answer.sum(1).tolist() == pytest.approx([1, 1])
    strides = {name: layer.stride[0] for name, layer in net.named_modules() if isinstance(layer, torch.nn.Conv2d)}
    assert [name for name, stride in strides.items() if stride == 2 and name.endswith("branch2a")] == [
        "blocks.3.branch2a",
        "blocks.7.branch2a",
        "blocks.13.branch2a",
    ]
    assert {stride for name, stride in strides.items() if name.endswith("branch2b")} == {1}
