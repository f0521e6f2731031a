"""`image_classifier`: an image file in, the probability of each of ImageNet's 1,000 classes out (ResNet-50)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard_build import steps
from modelyard_build.assets import Asset
from modelyard_build.datasets import cifar10, imagenet, photographs
from modelyard_build.model import Array, Arrays, DynamicBatching, Ensemble, Evaluation, Model, PythonModel, Step, Tensor
from modelyard_build.nets import resnet50_assets

if TYPE_CHECKING:
    from torch import nn

SIZE, RESIZE = 224, 256
MAX_BATCH_SIZE, OPTIMUM_BATCH_SIZE = 16, 8
IMAGE = Tensor("image", "BYTES", (1,))
# Bytes, and a quarter of what float32 would be: they pass from the step's process to the net's.
PIXELS = Tensor("pixels", "UINT8", (SIZE, SIZE, 3))
PROBABILITIES = Tensor("probabilities", "FP32", (len(imagenet.LABELS),), labels=imagenet.LABELS)
EXAMPLE_ASSETS: Mapping[str, Asset] = photographs.VERIFIED
CALIBRATION_ASSETS: Mapping[str, Asset] = {**photographs.CALIBRATION, "cifar10 train": cifar10.TRAIN_IMAGES}
EVALUATED_OF_EACH_KIND = 50
REFERENCE_BATCH = 16


def load(files: Mapping[str, Path]) -> nn.Module:
    """The net with ImageNet's weights."""
    from modelyard_build.nets.resnet50 import load_resnet50

    return load_resnet50(files)


def example_files(files: Mapping[str, Path]) -> Iterator[bytes]:
    """Image files without end: the photographs as they are, then as they could have been taken, a little nearer."""
    names = tuple(photographs.VERIFIED)
    yield from (files[name].read_bytes() for name in names)
    yield from photographs.crops(files, names, 1, least=0.85)


def calibration_files(files: Mapping[str, Path]) -> Iterator[bytes]:
    """Parts of other photographs, and images of CIFAR-10's training set."""
    parts = photographs.crops(files, tuple(photographs.CALIBRATION), 2, least=0.5)
    for part, small in zip(parts, cifar10.load(files["cifar10 train"]), strict=False):
        yield part
        yield cifar10.as_png(small)


def example_images(files: Mapping[str, Path], batch: int) -> Arrays:
    """`image`, BYTES [batch, 1]."""
    return {"image": _column(islice(example_files(files), batch))}


def example_pixels(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """`pixels`, uint8 [batch, 224, 224, 3], of the same images."""
    return decoded(files, example_images(files, batch))


def calibration_pixels(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """The same of images that no verification sees."""
    return decoded(files, {"image": _column(islice(calibration_files(files), batch))})


def _column(contents: Iterator[bytes]) -> Array:
    return np.array(list(contents), dtype=np.object_).reshape(-1, 1)


def decoded(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What the decoding step must give."""
    from modelyard_build.nets.pixels import pixels_of

    return {"pixels": np.stack([pixels_of(content, SIZE, RESIZE) for content in inputs["image"].reshape(-1)])}


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What Pillow and PyTorch answer."""
    import torch

    net, images = load(files), inputs["image"]
    rows = []
    for start in range(0, len(images), REFERENCE_BATCH):
        pixels = decoded(files, {"image": images[start : start + REFERENCE_BATCH]})["pixels"]
        with torch.inference_mode():
            rows.append(net(torch.from_numpy(pixels)).numpy())
    return {"probabilities": np.concatenate(rows)}


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, npt.NDArray[np.int64]]:
    """Images of CIFAR-10's test set, as many of each kind, and the photographs whose contents are known.

    Returns:
        `image`, and for each the number of its kind, or -1, -2… for the photographs in the order of their contents.
    """
    images, labels = cifar10.load(files["cifar10"]), cifar10.load_labels(files["cifar10 labels"])
    kinds = [cifar10.KINDS.index(kind) for kind in cifar10.IMAGENET_CLASSES]
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == kind)[:EVALUATED_OF_EACH_KIND] for kind in kinds]))
    known = [files[name].read_bytes() for name in photographs.CONTENTS]
    contents = [*known, *(cifar10.as_png(images[index]) for index in chosen)]
    truth = np.concatenate([-1 - np.arange(len(known)), labels[chosen]])
    return {"image": _column(iter(contents))}, truth


def figures(outputs: Arrays, truth: Array) -> Mapping[str, float]:
    """How often the kind with most of the probability is right, and how often a photograph's first class is."""
    probabilities = outputs["probabilities"]
    small = truth >= 0
    kinds = np.array([cifar10.KINDS.index(kind) for kind in cifar10.IMAGENET_CLASSES])
    sums = np.stack([probabilities[:, _indices(names)].sum(1) for names in cifar10.IMAGENET_CLASSES.values()], 1)
    right = [
        probabilities[truth == -1 - number].argmax(-1)[0] in _indices(names)
        for number, names in enumerate(photographs.CONTENTS.values())
    ]
    return {
        "CIFAR-10 accuracy": float((kinds[sums.argmax(1)] == truth)[small].mean()),
        "photographs right": float(np.mean(right)),
    }


def _indices(names: tuple[str, ...]) -> list[int]:
    return [imagenet.LABELS.index(name) for name in names]


DECODER = PythonModel(
    name="image_classifier_decoder",
    summary=f"JPEG, PNG, GIF or WebP in, its middle as {SIZE} x {SIZE} pixels out",
    source=Path(steps.__path__[0]) / "image_decoder.py",
    inputs=(IMAGE,),
    outputs=(PIXELS,),
    files={},
    parameters={
        "size": str(SIZE),
        "resize": str(RESIZE),
        "max_pixels": "50000000",
        "max_bytes": "20971520",
    },
    assets=EXAMPLE_ASSETS,
    examples=example_images,
    reference=decoded,
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=1_000, max_queue_size=256, default_timeout_microseconds=30_000_000
    ),
)

NET = Model(
    name="image_classifier_net",
    summary="ResNet-50: pixels in, the probability of each ImageNet class out",
    load=load,
    inputs=(PIXELS,),
    outputs=(PROBABILITIES,),
    examples=example_pixels,
    calibration=calibration_pixels,
    assets={**resnet50_assets.WEIGHT_ASSETS, **EXAMPLE_ASSETS, **CALIBRATION_ASSETS},
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=2_000, max_queue_size=256, default_timeout_microseconds=30_000_000
    ),
    optimum_batch_size=OPTIMUM_BATCH_SIZE,
)

ENSEMBLE = Ensemble(
    name="image_classifier",
    summary="image file in, the probability of each of ImageNet's 1,000 classes out",
    steps=tuple(
        Step(
            model=model.name,
            input_map={tensor.name: tensor.name for tensor in model.inputs},
            output_map={tensor.name: tensor.name for tensor in model.outputs},
        )
        for model in (DECODER, NET)
    ),
    inputs=(IMAGE,),
    outputs=(PROBABILITIES,),
    examples=example_images,
    reference=reference,
    assets={**resnet50_assets.WEIGHT_ASSETS, **EXAMPLE_ASSETS, **cifar10.TEST_ASSETS},
    max_batch_size=MAX_BATCH_SIZE,
    verified_items=64,
    golden_items=4,
    evaluation=Evaluation(data=evaluation_data, figures=figures, data_sha256=cifar10.TEST_IMAGES.sha256),
)

MODELS = (DECODER, NET, ENSEMBLE)
