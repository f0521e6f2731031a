"""Sixteen chest X-rays of children with what was found in each, and drawn ones that may be passed on.

The X-rays are the validation folder of Kermany et al., "Identifying Medical Diagnoses and Treatable Diseases by
Image-Based Deep Learning", 2018: 8 of 8 children without findings, 8 of 7 children with a pneumonia. They come in a
package that states no licence: they are fetched and used where they are needed, and none is kept beside a model. What
is kept there is drawn: `phantoms`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard_build.assets import PinnedAsset
from modelyard_build.nets.xception_assets import PACKAGE

if TYPE_CHECKING:
    from PIL import Image

NORMAL, PNEUMONIA = "NORMAL", "PNEUMONIA"
LABELS = (NORMAL, PNEUMONIA)
# Of each X-ray: the whole, and parts of it.
VIEWS = 12
# The sides of a part, as a share of the X-ray's.
LEAST = 0.9
_SEED = 20261121
_FOLDER = "pneumonia_model_package/datasets/pneumonia-data/val"


def _of_package(name: str, sha256: str) -> PinnedAsset:
    return PinnedAsset(PACKAGE, f"{_FOLDER}/{name}", sha256)


_XRAYS = (
    _of_package("NORMAL2-IM-1427-0001.jpeg", "95fe6dd24fc010ee526e40457ff34ef057d257c71b22ac9fd312094d4d7b2a37"),
    _of_package("NORMAL2-IM-1430-0001.jpeg", "ba2d0ff79c2758dc75331c3242dfc05b0108df3affc5402b55b6d9b81f44c2a0"),
    _of_package("NORMAL2-IM-1431-0001.jpeg", "1eab167cd836a153ddeb61a0e59ff21b276fb79b0aab70491605a77ffc52f4ac"),
    _of_package("NORMAL2-IM-1436-0001.jpeg", "1b96b8ba4d279362a396c2864f76eb3f30ba910f63573491ed2203b4e728f5c7"),
    _of_package("NORMAL2-IM-1437-0001.jpeg", "a73c06abbb473b57c90374424f86f0d7876bdbdb5c3ed8c681e4bd6f09778c38"),
    _of_package("NORMAL2-IM-1438-0001.jpeg", "19deafbd4cb13b7bca7e9c83466066c0d0c9e1678861519dcb1d0a45a79b0362"),
    _of_package("NORMAL2-IM-1440-0001.jpeg", "91c3cb7e4c579b7f9d7f48780575caacfbc51898841cdc0d0d1a388bbba47203"),
    _of_package("NORMAL2-IM-1442-0001.jpeg", "d30b85c96b78dabe1ddf05867a687dffe7a9a067cd72485abace2fc959c2a503"),
    _of_package("person1946_bacteria_4874.jpeg", "8bbf92ad61e43b7ff8c12eff396594cfbc631e4a1daff80deba3d929f6199cb0"),
    _of_package("person1946_bacteria_4875.jpeg", "905a703da2ca12326f2d88ce9b9823290bad97e98c8179e77393c56f86978caa"),
    _of_package("person1947_bacteria_4876.jpeg", "a10dda144959f77c7589b2c874da00d9649e34ee96660b87ef8d720083524154"),
    _of_package("person1949_bacteria_4880.jpeg", "5bde846e4a137b37e568c66a61752b4c5cfe2057b0f4af6bfd3cfab3db1202b8"),
    _of_package("person1950_bacteria_4881.jpeg", "e1d5161b6a6d82ccbee47fd8dfb1a6d44eded1d7e4f164121dd2a229bdc43f5d"),
    _of_package("person1951_bacteria_4882.jpeg", "1136fa7a74528c4b6dd55b7318dedefdbc7b523db09928b1ebdf276fef31f08b"),
    _of_package("person1952_bacteria_4883.jpeg", "3fef55b2ba3c51c66ad41122ed4f640c19bb549d850d53fbbe3a4f18d9eb4e82"),
    _of_package("person1954_bacteria_4886.jpeg", "9904f0fec6adc349c35452fa9909721b9dfcb02a254c76b9d329f3432151ed39"),
)
XRAYS: Mapping[str, PinnedAsset] = {asset.filename: asset for asset in _XRAYS}


def finding_of(name: str) -> int:
    """The index in `LABELS` of what was found: the files with a pneumonia are named after the person."""
    return LABELS.index(PNEUMONIA if name.startswith("person") else NORMAL)


def whole(files: Mapping[str, Path]) -> Iterator[bytes]:
    """The files as they are, one with and one without a finding in turn."""
    half = len(_XRAYS) // 2
    for pair in zip(_XRAYS[:half], _XRAYS[half:], strict=True):
        yield from (files[asset.filename].read_bytes() for asset in pair)


def views(files: Mapping[str, Path], names: Sequence[str], count: int = VIEWS) -> Iterator[tuple[int, list[bytes]]]:
    """Each X-ray as it is, and as it could have been taken a little nearer.

    Args:
        files: the X-rays by name.
        names: those that are taken.
        count: how many files of each.

    Yields:
        The finding of each X-ray, and its files.
    """
    from PIL import Image

    generator = np.random.default_rng(_SEED)
    for name in names:
        with Image.open(files[name]) as image:
            parts = [_part(image, generator) for _ in range(count - 1)]
        yield finding_of(name), [files[name].read_bytes(), *parts]


def _part(image: Image.Image, generator: np.random.Generator) -> bytes:
    width, height = (int(generator.integers(int(LEAST * length), length, endpoint=True)) for length in image.size)
    left = int(generator.integers(0, image.width - width, endpoint=True))
    top = int(generator.integers(0, image.height - height, endpoint=True))
    file = io.BytesIO()
    image.crop((left, top, left + width, top + height)).save(file, "JPEG", quality=95)
    return file.getvalue()


def phantoms(count: int) -> Iterator[bytes]:
    """Drawn chests as grey PNG files, each with other lungs, every other one with a shadow in them."""
    generator = np.random.default_rng(_SEED)
    yield from (_png(_chest(generator, shadow=bool(number % 2))) for number in range(count))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def _chest(generator: np.random.Generator, shadow: bool) -> npt.NDArray[np.uint8]:
    """A body with spine, lungs, ribs and heart: uint8 [256, 320]."""
    down, right = np.mgrid[-1:1:256j, -1.25:1.25:320j]
    width, height = generator.uniform(0.3, 0.38), generator.uniform(0.6, 0.72)
    body = _blob(down, right, 0.1, 0.0, 1.3, 1.05)
    lungs = sum(_blob(down, right, -0.05, side * 0.45, height, width) for side in (-1, 1))
    heart = _blob(down, right, 0.25, 0.12, 0.3, generator.uniform(0.22, 0.3))
    spine = np.exp(-((right / 0.09) ** 2))
    ribs = np.cos(18 * (down - 0.35 * right**2)) ** 8
    light = 0.62 * body - 0.42 * lungs + 0.3 * heart + 0.2 * spine * body + 0.07 * ribs * lungs
    if shadow:
        light = light + 0.3 * lungs * _blob(down, right, generator.uniform(0.0, 0.35), -0.45, 0.3, 0.25)
    drawn: npt.NDArray[np.uint8] = (255 * light.clip(0, 1)).astype(np.uint8)
    return drawn


def _blob(
    down: npt.NDArray[np.float64], right: npt.NDArray[np.float64], y: float, x: float, height: float, width: float
) -> npt.NDArray[np.float64]:
    """An ellipse with a soft rim: 1 within, 0 outside."""
    beyond = ((down - y) / height) ** 2 + ((right - x) / width) ** 2 - 1
    soft: npt.NDArray[np.float64] = 1 / (1 + np.exp(np.minimum(12 * beyond, 50)))
    return soft
