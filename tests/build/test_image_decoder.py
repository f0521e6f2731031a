"""The decoding step on its own: every kind of file comes out as the same picture, and bad ones are refused in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelyard_build.nets.pixels import pixels_of, stretched_pixels_of
from support import images

NAME = "modelyard_build.steps.image_decoder"


@pytest.fixture(scope="module")
def decoder() -> Iterator[Any]:
    """The step's module, beside a stand-in for what Triton gives it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
        # It sets Pillow up for a process of its own.
        patch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        yield import_module(NAME)
        sys.modules.pop(NAME)


def decoded(decoder: Any, content: bytes, **limits: Any) -> Any:
    """uint8 [size, size, 3] under the limits of the project's config, but for those that are given."""
    stated = {"size": 224, "resize": 256, "max_pixels": 50_000_000, "max_bytes": 20_971_520, **limits}
    return decoder.pixels(content, decoder.Limits(**stated))


def away(pixels: Any, expected: Any) -> float:
    """The mean difference of two pictures, of 255."""
    return float(np.abs(pixels.astype(int) - expected.astype(int)).mean())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", images.in_colour())
def test_every_kind_of_file_shows_the_picture(decoder: Any, name: str) -> None:
    """Upright, the first frame, in its colours: as Pillow alone makes it of the plain PNG."""
    plain = pixels_of(images.in_colour()["PNG"], 224, 256)
    pixels = decoded(decoder, images.in_colour()[name])
    assert (pixels.shape, pixels.dtype) == ((224, 224, 3), np.uint8)
    assert away(pixels, plain) < 4


@pytest.mark.parametrize("name", images.in_grey())
def test_grey_files_show_the_picture_in_grey(decoder: Any, name: str) -> None:
    """Three equal channels; 16 bits are scaled to 8, where Pillow alone cuts them off."""
    pixels = decoded(decoder, images.in_grey()[name])
    assert away(pixels, pixels_of(images.in_grey()["grey PNG"], 224, 256)) < 2
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_grey_is_scaled_as_its_colours_would_be(decoder: Any, interpolation: str) -> None:
    """Equal in every element to the same picture in a file of three channels."""
    grey = images.picture().convert("L").resize((641, 483))
    chosen = decoder.INTERPOLATIONS[interpolation]
    one, three = (
        decoded(decoder, images.encoded(each, "PNG"), interpolation=chosen) for each in (grey, grey.convert("RGB"))
    )
    np.testing.assert_array_equal(one, three)


def test_a_photograph_is_decoded_as_pillow_does(decoder: Any) -> None:
    """Equal in every element to the reference, also where a JPEG is decoded at a part of its size."""
    large = images.encoded(images.picture().resize((2400, 1800)), "JPEG", quality=90)
    for content in (images.jpeg(), large):
        np.testing.assert_array_equal(decoded(decoder, content), pixels_of(content, 224, 256))


def test_transparent_parts_are_white(decoder: Any) -> None:
    """Whatever colour hides under them; half transparent is half white."""
    red = Image.new("RGBA", (300, 300), (255, 0, 0, 0))
    red.paste((255, 0, 0, 128), (0, 150, 300, 300))
    pixels = decoded(decoder, images.encoded(red, "PNG"))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[-1, 0].tolist() == [255, 127, 127]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (224, 224)])
def test_any_shape_becomes_the_square(decoder: Any, size: tuple[int, int]) -> None:
    """A single pixel and a thread of them, too."""
    pixels = decoded(decoder, images.encoded(Image.new("RGB", size, (10, 200, 30)), "PNG"))
    assert (pixels == (10, 200, 30)).all()


def test_the_middle_is_what_comes_out(decoder: Any) -> None:
    """Of a wide image the sides are left out; with `resize` equal to `size` the shorter side is whole."""
    wide = Image.new("RGB", (400, 200), "red")
    wide.paste("blue", (110, 0, 290, 200))
    content = images.encoded(wide, "PNG")
    assert (decoded(decoder, content)[:, 10:-10] == (0, 0, 255)).all()
    whole = decoded(decoder, content, resize=224)
    assert whole[0, 0].tolist() == [255, 0, 0]


def stretched(decoder: Any, content: bytes) -> Any:
    """The whole image by its nearest pixels: uint8 [150, 150, 3]."""
    interpolation = decoder.INTERPOLATIONS["nearest"]
    return decoded(decoder, content, size=150, resize=150, keep_aspect_ratio=False, interpolation=interpolation)


def test_a_whole_image_is_stretched_as_keras_does(decoder: Any) -> None:
    """Equal in every element to the reference, also of a large JPEG, which is then decoded at its full size."""
    large = images.encoded(images.picture().resize((2400, 1800)), "JPEG", quality=90)
    for content in (images.jpeg(), large, images.in_grey()["grey JPEG"]):
        np.testing.assert_array_equal(stretched(decoder, content), stretched_pixels_of(content, 150))


def test_thumbnails_are_refused_where_the_config_says_so(decoder: Any) -> None:
    """By the shorter side; as large as stated is large enough."""
    content = images.jpeg()
    decoded(decoder, content, min_side=images.HEIGHT)
    with pytest.raises(decoder.InvalidImage, match="has 320 x 240 pixels, at least 241 are needed on the shorter side"):
        decoded(decoder, content, min_side=images.HEIGHT + 1)


@pytest.mark.parametrize("name", images.bad())
def test_a_bad_file_is_refused_in_words(decoder: Any, name: str) -> None:
    """What it is, what it has, what is allowed."""
    content, words = images.bad()[name]
    with pytest.raises(decoder.InvalidImage) as caught:
        decoded(decoder, content)
    assert words in str(caught.value)


def test_limits_are_the_configs(decoder: Any) -> None:
    """A pixel or a byte more is refused, as many are not."""
    content = images.jpeg()
    decoded(decoder, content, max_pixels=images.WIDTH * images.HEIGHT, max_bytes=len(content))
    with pytest.raises(decoder.InvalidImage, match="pixels, at most 76799"):
        decoded(decoder, content, max_pixels=images.WIDTH * images.HEIGHT - 1)
    with pytest.raises(decoder.InvalidImage, match=f"bytes, at most {len(content) - 1}"):
        decoded(decoder, content, max_bytes=len(content) - 1)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"max_pixels": None}, r"key: 'max_pixels'.* is '', expected a positive whole number"),
        ({"size": "0"}, r"key: 'size'.* is '0'"),
        ({"max_bytes": "20 MB"}, r"key: 'max_bytes'.* is '20 MB'"),
        ({"resize": "200"}, r"resize is 200, less than size, 224"),
        ({"keep_aspect_ratio": "false"}, r"resize is 256 and keep_aspect_ratio is false.* Set resize to 224"),
        ({"keep_aspect_ratio": "no"}, r"key: 'keep_aspect_ratio'.* is 'no', expected 'true' or 'false'"),
        ({"interpolation": "cubic"}, r"key: 'interpolation'.* is 'cubic', expected 'bilinear' or 'nearest'"),
        ({"min_side": "-1"}, r"key: 'min_side'.* is '-1', expected a positive whole number"),
    ],
)
def test_parameters_that_make_no_sense_do_not_load(decoder: Any, changed: dict[str, Any], sentence: str) -> None:
    """The load error says which, and what is expected."""
    stated = {"size": "224", "resize": "256", "max_pixels": "1000", "max_bytes": "1000", **changed}
    parameters = {name: {"string_value": value} for name, value in stated.items() if value is not None}
    with pytest.raises(ValueError, match=sentence):
        decoder.TritonPythonModel().initialize({"model_config": json.dumps({"parameters": parameters})})
