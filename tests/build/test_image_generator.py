"""What the image generator is made of and judged by: weights as TensorFlow.js writes them, figures of images."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch.nn import functional

from modelyard_build.image_figures import RoundedPng, decoded, diversity, psnr, ssim
from modelyard_build.models import image_generator
from modelyard_build.nets.progan import CHANNELS, LATENT, ProGan, load_progan
from modelyard_build.nets.tfjs import read_weights
from support.small_generator import SHARD, SIDE, WIDTH, example_latents, write_small_progan


def picture(seed: int = 0, side: int = 32) -> npt.NDArray[np.uint8]:
    """uint8 [side, side, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """Its file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_weights_are_read_by_their_types_across_shards(tmp_path: Path) -> None:
    """Integers among floats; a shard's end may be in the middle of a number."""
    content = np.array([1.5, -2], "<f4").tobytes() + np.array([7], "<i4").tobytes() + np.array([3.25], "<f4").tobytes()
    shards = {"a": tmp_path / "a", "b": tmp_path / "b"}
    for path, part in zip(shards.values(), (content[:6], content[6:]), strict=True):
        path.write_bytes(part)
    entries = [
        {"name": name, "shape": shape, "dtype": dtype}
        for name, shape, dtype in (("k", [2, 1], "float32"), ("n", [], "int32"), ("b", [1], "float32"))
    ]
    topology = tmp_path / "model.json"
    topology.write_text(json.dumps({"weightsManifest": [{"paths": ["a", "b"], "weights": entries}]}))
    found = read_weights(topology, shards)
    assert {name: array.tolist() for name, array in found.items()} == {"k": [[1.5], [-2.0]], "n": 7, "b": [3.25]}
    shards["b"].write_bytes(content[6:] + b"more")
    with pytest.raises(ValueError, match=r"the shards hold 20 bytes; model\.json lists 16"):
        read_weights(topology, shards)


def test_the_net_is_the_packages_graph(tmp_path: Path) -> None:
    """Its operators one by one, at half of the contrast: a padded convolution, doublings, pixel-wise scaling."""
    files = write_small_progan(tmp_path)
    weights = {name: torch.tensor(array) for name, array in read_weights(files["topology"], files).items()}
    kernels = [weight.permute(3, 2, 0, 1) for name, weight in weights.items() if name.endswith("merged_input")]
    biases = [weight for weight in weights.values() if weight.ndim == 1]

    def scaled(values: torch.Tensor) -> torch.Tensor:
        return values / torch.sqrt(values.square().mean(1, keepdim=True) + 1e-8)

    latent = torch.from_numpy(example_latents(None, 3, None)["latent"])
    values = functional.pad(scaled(latent)[:, :, None, None], (3, 3, 3, 3))
    for number, (kernel, bias) in enumerate(zip(kernels[:-1], biases[:-1], strict=True)):
        if number and number % 2 == 0:
            values = values.repeat_interleave(2, 2).repeat_interleave(2, 3)
        values = functional.conv2d(values, kernel, bias, padding=1 if number else 0)
        values = scaled(torch.maximum(0.2 * values, values))
    values = functional.conv2d(values, kernels[-1], biases[-1])
    expected = ((values - 0.5) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    with torch.inference_mode():
        found = load_progan(files)(latent)
    assert found.shape == (3, SIDE, SIDE, 3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_net_has_the_size_that_is_declared() -> None:
    """The sizes in the code are those of the weights that are fetched: 128 pixels of 512 numbers."""
    assert 4 * 2 ** (len(CHANNELS) - 1) == image_generator.SIDE
    assert LATENT == image_generator.WIDTH
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in ProGan().parameters()) == 22_934_147


def test_noise_is_its_own_for_each_seed_and_index() -> None:
    """Counter-based: no image depends on those before it, and the largest numbers are as good as the smallest."""
    keys = [(0, 0), (0, 1), (1, 0), (2**63 - 1, 2**63 - 1)]
    found = [image_generator.noise(seed, index, WIDTH) for seed, index in keys]
    assert {array.tobytes() for array in found} == {image_generator.noise(*key, WIDTH).tobytes() for key in keys}
    assert len({array.tobytes() for array in found}) == len(keys)
    assert {(array.dtype, array.shape) for array in found} == {(np.dtype(np.float32), (WIDTH,))}


def test_figures_of_images() -> None:
    """Equal images are alike to the full, and a net that makes one image of every noise has no diversity."""
    one, other = picture(0), picture(1)
    near = np.clip(one.astype(np.int16) + 1, 0, 255).astype(np.uint8)
    assert ssim(one, one) == 1
    assert 0.99 < ssim(one, near) < 1
    assert ssim(one, other) < 0.1
    assert psnr(one, one) == float("inf")
    assert psnr(np.zeros_like(one), np.full_like(one, 255)) == 0
    assert diversity([one, one, one]) == pytest.approx(0, abs=1e-6)
    assert diversity([np.zeros_like(one), np.full_like(one, 255)]) == pytest.approx(1)
    assert diversity([one, other]) == pytest.approx(np.sqrt(np.square(one / 255 - other / 255).mean()))


def test_a_rounded_file_equals_its_neighbours_only() -> None:
    """One value of 3,072 on the next level is rounding; two levels, many values, another size and no file are not."""
    image = picture()
    image[0, 0, 0], image[0, 0, 1] = 7, 100
    by_one, by_two, many = image.copy(), image.copy(), np.where(image < 255, image + 1, image).astype(np.uint8)
    by_one[0, 0, 0] += 1
    by_two[0, 0, 0] += 2
    expected = RoundedPng(png(image))
    assert expected == png(image)
    assert expected == png(by_one)
    assert [other for other in (png(by_two), png(many), png(picture(0, 16)), b"", 0) if expected == other] == []
    assert RoundedPng(b"") == b""
    assert np.array([expected], np.object_) == np.array([png(by_one)], np.object_)


def test_details_say_what_the_means_hide() -> None:
    """The share of equal values, the largest difference, the least alike pair."""
    truth = np.stack([picture(0), picture(1)])
    served = truth.copy()
    served[1, 0, 0, 0] ^= 1
    outputs = {"image": np.array([[[png(image)]] for image in served], np.object_)}
    figures, details = image_generator.figures(outputs, truth), image_generator.details(outputs, truth)
    assert figures["SSIM to PyTorch"] == pytest.approx(1, abs=1e-4)
    assert details["largest difference, of 255"] == 1
    assert details["share of equal values"] == pytest.approx(1 - 1 / truth.size)
    assert details["least PSNR, dB"] > 80
    assert decoded([png(image) for image in served]).tolist() == served.tolist()


def test_the_small_form_is_read_as_the_real_one(tmp_path: Path) -> None:
    """Its files have the converter's names: the loader reads both."""
    files = write_small_progan(tmp_path)
    assert set(files) == {"topology", SHARD}
    assert load_progan(files).project.in_features == WIDTH
