"""An image file to pixels, in front of an image net: a model for Triton's Python backend.

Takes JPEG, PNG, GIF and WebP. Of an animation the first frame is read. A photograph that was taken sideways is turned
as its EXIF says; transparent parts become white; 16 bits a channel become 8; CMYK becomes RGB by Pillow's plain
formula, and embedded colour profiles are not applied.

Reads from config.pbtxt's `parameters`:

- `size`: side of the square that comes out, in pixels: what the net was trained with.
- `resize`: length that the shorter side is scaled to; the square of `size` out of its middle is what comes out. Where
  both are equal the whole shorter side is in the square.
- `max_pixels`: an image with more is refused before it is decoded. Decoding takes up to 4 bytes a pixel, for as many
  images at a time as there are cores (at most 4).
- `max_bytes`: a larger file is refused unread.

And these, which may be left out:

- `keep_aspect_ratio`: "true", or "false": the whole image is stretched to the square; `resize` is then `size`.
- `interpolation`: how pixels of another size are made, "bilinear" or "nearest". A net sees what it was trained with
  only by the one that its training took. With "nearest" a JPEG is always decoded at its full size.
- `min_side`: an image whose shorter side has fewer pixels is refused. 1 takes any.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from PIL import Image, PngImagePlugin, UnidentifiedImageError

# Each decoder is code that strangers' bytes run through: only those that people's images need.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
MOST_THREADS = 4
# A JPEG is decoded at 1/2, 1/4 or 1/8 where that is still so many times as large as needed. The net then answers as of
# the whole photograph: of 36 between 0.5 and 6 megapixels the probabilities had a cosine of 0.9987 at least, at once as
# large as needed 0.974.
DRAFT = 2
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
# A progressive photograph has about 10 scans. Each passes over every pixel, and may itself be a few bytes only.
MOST_SCANS = 200
# Texts beside the pixels are unpacked as the file is read.
PngImagePlugin.MAX_TEXT_MEMORY = 4 << 20
# The limit is this step's own, which says what it is.
Image.MAX_IMAGE_PIXELS = None
# What is odd about a stranger's file is nothing for the server's log.
warnings.filterwarnings("ignore", module="PIL")

Choice = TypeVar("Choice")

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class InvalidImage(ValueError):
    """An image that cannot be read; the message is the request's answer."""


@dataclass(frozen=True)
class Limits:
    """The step's parameters; see the head of this file."""

    size: int
    resize: int
    max_pixels: int
    max_bytes: int
    min_side: int = 1
    keep_aspect_ratio: bool = True
    interpolation: Image.Resampling = Image.Resampling.BILINEAR

    def __post_init__(self) -> None:
        if self.resize < self.size:
            raise ValueError(
                f"parameter resize is {self.resize}, less than size, {self.size}: the square would not fit into the "
                f"image. Set resize to {self.size} or more in config.pbtxt."
            )
        if not self.keep_aspect_ratio and self.resize != self.size:
            raise ValueError(
                f"parameter resize is {self.resize} and keep_aspect_ratio is false: the whole image becomes the "
                f"square, and nothing is left out. Set resize to {self.size}, which is size, in config.pbtxt."
            )


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters.

        Args:
            args: Triton's description of the instance.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        self.limits = limits_of(parameters)
        # Pillow lets others run while it decodes and scales.
        self.pool = ThreadPoolExecutor(min(MOST_THREADS, len(os.sched_getaffinity(0))))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decodes the images of all requests together; a request with a bad image fails alone.

        Args:
            requests: each with `image`, BYTES [batch, 1].

        Returns:
            A response for each: `pixels` UINT8 [batch, size, size, 3], red first.
        """
        files = [pb_utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1) for request in requests]
        numbered = [(position, content) for group in files for position, content in enumerate(group)]
        decoded = self.pool.map(self._decode, numbered) if len(numbered) > 1 else map(self._decode, numbered)
        images = list(decoded)
        responses, start = [], 0
        for group in files:
            responses.append(_response(images[start : start + len(group)]))
            start += len(group)
        return responses

    def finalize(self) -> None:
        """Ends the threads."""
        self.pool.shutdown()

    def _decode(self, numbered: tuple[int, bytes]) -> npt.NDArray[np.uint8] | InvalidImage:
        position, content = numbered
        try:
            return pixels(content, self.limits)
        except InvalidImage as error:
            return InvalidImage(f"image {position} {error}")


def _response(images: list[npt.NDArray[np.uint8] | InvalidImage]) -> Any:
    good = [image for image in images if not isinstance(image, InvalidImage)]
    if len(good) == len(images):
        return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", np.stack(good))])
    reason = next(str(image) for image in images if isinstance(image, InvalidImage))
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(reason, pb_utils.TritonError.INVALID_ARG))


def pixels(content: bytes, limits: Limits) -> npt.NDArray[np.uint8]:
    """The middle of an image, scaled: uint8 [size, size, 3].

    Raises:
        InvalidImage: it is none that is read here, is damaged, or is larger than the limits.
    """
    _check_file(content, limits)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image, limits)
            return _scaled(image, limits)
    except InvalidImage:
        raise
    except UnidentifiedImageError:
        raise InvalidImage(
            f"is no {_one_of(FORMATS)} that can be read: it has {len(content)} bytes and begins with "
            f"{content[:8]!r}. Send the bytes of the file itself, not a path, a URL or base64."
        ) from None
    # Damage shows as whatever the decoder stumbles over: OSError, SyntaxError, struct.error, zlib.error, MemoryError.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidImage(
            f"is damaged ({len(content)} bytes): {reason}. See that it is whole: a viewer should open it."
        ) from None


def _check_file(content: bytes, limits: Limits) -> None:
    if not content:
        raise InvalidImage(f"is empty. Send the bytes of a {_one_of(FORMATS)} file.")
    if len(content) > limits.max_bytes:
        raise InvalidImage(
            f"has {len(content)} bytes, at most {limits.max_bytes} are read. Scale it down: {limits.resize} pixels on "
            "the shorter side are all that is used."
        )
    # In a JPEG's data 0xff is always followed by 0, so this marker stands where a scan begins (and in a thumbnail).
    if content[:2] == b"\xff\xd8" and (scans := content.count(b"\xff\xda")) > MOST_SCANS:
        raise InvalidImage(f"is a JPEG of {scans} scans, at most {MOST_SCANS} are decoded. Save it with fewer.")


def _check_size(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if min(width, height) < limits.min_side:
        raise InvalidImage(
            f"has {width} x {height} pixels, at least {limits.min_side} are needed on the shorter side. Send the image "
            "as it was taken, not a thumbnail of it."
        )
    if width * height > limits.max_pixels:
        raise InvalidImage(
            f"has {width} x {height} = {width * height} pixels, at most {limits.max_pixels} are decoded. Scale it "
            f"down: {limits.resize} pixels on the shorter side are all that is used."
        )


def _scaled(image: Image.Image, limits: Limits) -> npt.NDArray[np.uint8]:
    if limits.interpolation is not Image.Resampling.NEAREST:
        image.draft(None, (DRAFT * limits.resize, DRAFT * limits.resize))
    image.load()
    channels = _channels(image)
    square = channels.resize((limits.size, limits.size), limits.interpolation, _box(channels.size, limits))
    turn = UPRIGHT.get(_orientation(image))
    return np.asarray(_in_colour(square if turn is None else square.transpose(turn)))


def _box(size: tuple[int, int], limits: Limits) -> tuple[float, float, float, float]:
    """What of an image becomes the square: left, top, right, bottom."""
    if not limits.keep_aspect_ratio:
        return 0, 0, *size
    side = min(size) * limits.size / limits.resize
    left, top = ((length - side) / 2 for length in size)
    return left, top, left + side, top + side


def _channels(image: Image.Image) -> Image.Image:
    """RGB, RGBA where parts of it are transparent, or L where it is grey.

    Every channel is scaled for itself: one of a large grey image takes a third of the time of three equal ones, and the
    result is the same.
    """
    if image.mode.startswith("I"):
        # Pillow's own conversion cuts 16 bits off at 255.
        high_bytes = (np.asarray(image).astype(np.int32) >> 8).clip(0, 255)
        return Image.fromarray(high_bytes.astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode == "L" else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _in_colour(image: Image.Image) -> Image.Image:
    """RGB, on white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, which is upright, where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  # damaged notes beside the pixels are no reason to refuse them
        return 1


def _one_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def limits_of(parameters: dict[str, dict[str, str]]) -> Limits:
    """The limits that config.pbtxt's parameters state.

    Raises:
        ValueError: one is missing or makes no sense; a load error names it.
    """
    return Limits(
        **{name: _integer(parameters, name) for name in ("size", "resize", "max_pixels", "max_bytes")},
        min_side=_integer(parameters, "min_side", default="1"),
        keep_aspect_ratio=_one_out_of(parameters, "keep_aspect_ratio", {"true": True, "false": False}),
        interpolation=_one_out_of(parameters, "interpolation", INTERPOLATIONS),
    )


def _one_out_of(parameters: dict[str, dict[str, str]], name: str, choices: dict[str, Choice]) -> Choice:
    """What a parameter's word stands for; the first where the parameter is left out."""
    value = parameters[name].get("string_value", "") if name in parameters else next(iter(choices))
    if value not in choices:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected {' or '.join(map(repr, choices))} as string_value. "
            "Mend it in config.pbtxt."
        )
    return choices[value]


def _integer(parameters: dict[str, dict[str, str]], name: str, default: str = "") -> int:
    """A positive integer out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", default)
    if not value.isdigit() or int(value) < 1:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a positive whole number as string_value. "
            "Mend it in config.pbtxt."
        )
    return int(value)
