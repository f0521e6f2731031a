"""How alike images are, and how different from one another: figures of an `Evaluation` of a net that makes images."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from modelyard_build.model import Array

# Of Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity" (2004):
# a Gaussian window of 11 x 11 with a standard deviation of 1.5, and what keeps its quotients from 0 / 0.
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def decoded(files: Iterable[bytes]) -> npt.NDArray[np.uint8]:
    """PNG files of one size: uint8 [files, height, width, 3]."""
    from PIL import Image

    return np.stack([np.asarray(Image.open(io.BytesIO(file), formats=["PNG"]).convert("RGB")) for file in files])


def ssim(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """The structural similarity of two images, 1 where they are equal: the mean over places and colours.

    Args:
        one: uint8 [height, width, 3].
        other: likewise.
    """
    from scipy.ndimage import gaussian_filter

    def blurred(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = gaussian_filter(values, _SIGMA, radius=_RADIUS, axes=(0, 1))
        return found

    a, b = one.astype(np.float64), other.astype(np.float64)
    mean_a, mean_b = blurred(a), blurred(b)
    variances = blurred(a * a) - mean_a**2 + blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return float((luminance * (2 * covariance + _C2) / (variances + _C2)).mean())


def psnr(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """The peak signal-to-noise ratio of two images in dB; infinite where they are equal."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def diversity(images: Sequence[npt.NDArray[np.uint8]] | Array) -> float:
    """The mean distance between two images, as the root of the mean square over their values: from 0 to 1.

    A net that makes the same image of every noise (mode collapse) has 0.
    """
    flat = np.stack([image.reshape(-1) for image in images]).astype(np.float64) / 255
    squares = np.square(flat).mean(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * flat @ flat.T / flat.shape[1], 0))
    return float(distances[np.triu_indices(len(flat), 1)].mean())


class RoundedPng(bytes):
    """A PNG file that equals those that differ from it by rounding alone.

    A value between two of the 256 levels falls to either side by the last bit of a float: 1 in a hundred values may be
    on the next level, and none further away.
    """

    MOST_SHARE = 0.01

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, bytes) or not other or not self:
            return bytes(self) == other
        own, theirs = (decoded([file])[0].astype(np.int16) for file in (self, other))
        if own.shape != theirs.shape:
            return False
        differences = np.abs(own - theirs)
        return bool(differences.max() <= 1 and (differences > 0).mean() <= self.MOST_SHARE)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = bytes.__hash__
