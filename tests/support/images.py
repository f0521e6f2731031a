"""Image files for tests: a picture that shows which way is up, in every form that a decoder meets, and broken ones."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 320, 240
EXIF_ORIENTATION = 0x0112
# What a camera that was held so stores, by EXIF's orientation.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture() -> Image.Image:
    """RGB: red grows to the right, green downwards, blue is even, and the top left is dark: no side is like another."""
    down, right = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    colours = np.stack([255 * right / WIDTH, 255 * down / HEIGHT, np.full_like(down, 90)], axis=-1)
    colours[: HEIGHT // 2, : WIDTH // 2] /= 2
    return Image.fromarray(colours.astype(np.uint8))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def jpeg() -> bytes:
    """The picture as a photograph is stored."""
    return encoded(picture(), "JPEG", quality=95)


def turned(orientation: int) -> bytes:
    """The picture as a camera stores it that was held otherwise, with the EXIF that says so."""
    turn, exif = STORED_AS[orientation], Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = picture() if turn is None else picture().transpose(turn)
    return encoded(stored, "JPEG", quality=95, exif=exif)


@functools.cache
def in_colour() -> Mapping[str, bytes]:
    """Files that show the picture in its colours, or nearly so."""
    image, other = picture(), Image.new("RGB", (WIDTH, HEIGHT), "black")
    opaque = image.copy()
    opaque.putalpha(255)
    damaged_exif = b"\xff\xe1" + struct.pack(">H", 20) + b"Exif\0\0II*\0" + b"\xff" * 8
    return {
        "JPEG": jpeg(),
        "progressive JPEG": encoded(image, "JPEG", quality=95, progressive=True),
        "CMYK JPEG": encoded(image.convert("CMYK"), "JPEG", quality=95),
        "JPEG with damaged EXIF": jpeg()[:2] + damaged_exif + jpeg()[2:],
        "PNG": encoded(image, "PNG"),
        "PNG with a palette": encoded(image.quantize(256), "PNG"),
        "opaque PNG with alpha": encoded(opaque, "PNG"),
        "animated PNG": encoded(image, "PNG", save_all=True, append_images=[other]),
        "animated GIF": encoded(image.quantize(256), "GIF", save_all=True, append_images=[other.quantize()]),
        "WebP": encoded(image, "WEBP", quality=95),
        "animated WebP": encoded(image, "WEBP", quality=95, save_all=True, append_images=[other]),
        **{f"EXIF orientation {number}": turned(number) for number in STORED_AS},
    }


@functools.cache
def in_grey() -> Mapping[str, bytes]:
    """Files that show the picture in grey."""
    grey = picture().convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return {
        "grey JPEG": encoded(grey, "JPEG", quality=95),
        "grey PNG": encoded(grey, "PNG"),
        "grey PNG with alpha": encoded(grey.convert("LA"), "PNG"),
        "16-bit PNG": encoded(wide, "PNG"),
    }


@functools.cache
def bad() -> Mapping[str, tuple[bytes, str]]:
    """Files that are refused, each with words of the sentence that says why."""
    whole = jpeg()
    packed = zlib.compress(b"a" * (8 << 20), 9)
    texts = b"".join(_chunk(b"zTXt", b"k%d\0\0" % number + zlib.compress(b"a" * 1_000_000, 9)) for number in range(9))
    return {
        "empty": (b"", "is empty"),
        "text": (b"not an image at all", "begins with b'not an i'"),
        "TIFF": (encoded(picture(), "TIFF"), "is no JPEG, PNG, GIF or WEBP"),
        "head alone": (whole[:200], "is damaged (200 bytes)"),
        "truncated JPEG": (whole[:-2000], "truncated"),
        "truncated PNG": (encoded(picture(), "PNG")[:-500], "truncated"),
        "corrupt PNG": (_png(8, 8, b"\0" * 200).replace(b"IDAT", b"IDAX"), "that can be read"),
        "corrupt JPEG": (whole[:2] + b"\xff\xdb\0\3\xff" + whole[2:], "that can be read"),
        "too many pixels": (_png(60_000, 60_000, b""), "60000 x 60000 = 3600000000 pixels, at most 50000000"),
        "too many bytes": (b"\xff\xd8" + bytes(21 << 20), "has 22020098 bytes, at most 20971520"),
        "packed text": (_png(8, 8, b"\0" * 200, _chunk(b"zTXt", b"k\0\0" + packed)), "is damaged"),
        "packed texts": (_png(8, 8, b"\0" * 200, texts), "is damaged"),
        "packed profile": (_png(8, 8, b"\0" * 200, _chunk(b"iCCP", b"k\0\0" + packed)), "is damaged"),
        "scans without end": (whole[:2] + b"\xff\xda" * 300 + whole[2:], "301 scans, at most 200"),
    }


def _png(width: int, height: int, rows: bytes, more: bytes = b"") -> bytes:
    """A PNG of RGB rows, each behind its filter byte."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + more
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
