"""An image file to pixels with Pillow alone: what the decoding step is held against."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps


def pixels_of(content: bytes, size: int, resize: int) -> npt.NDArray[np.uint8]:
    """The middle of an opaque image with 8 bits a channel, scaled.

    Args:
        content: the file.
        size: the side of the square that comes out.
        resize: the length that the shorter side is scaled to, out of whose middle the square is taken.

    Returns:
        uint8 [size, size, 3], red first.
    """
    with Image.open(io.BytesIO(content)) as image:
        # A JPEG may be decoded at a part of its size that is at least twice as large as needed.
        image.draft("RGB", (2 * resize, 2 * resize))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    side = min(upright.size) * size / resize
    left, top = ((length - side) / 2 for length in upright.size)
    square = upright.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return np.asarray(square)


def stretched_pixels_of(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    """The whole of an opaque image with 8 bits a channel, stretched to a square by the nearest pixels.

    As `keras.utils.load_img` does it with `target_size` alone, but for the turn that EXIF asks for.

    Args:
        content: the file.
        size: the side of the square.

    Returns:
        uint8 [size, size, 3], red first.
    """
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(upright.resize((size, size), Image.Resampling.NEAREST))
