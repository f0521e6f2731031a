"""`image_generator`: a seed and a count in, a stream of faces out, each a PNG file (ProGAN, 128 x 128)."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelyard_build import image_figures, steps
from modelyard_build.image_figures import RoundedPng
from modelyard_build.model import Array, Arrays, Evaluation, Model, PythonModel, Tensor
from modelyard_build.nets import progan_assets
from modelyard_build.rounding import joined_rows

if TYPE_CHECKING:
    from modelyard_build.nets.progan import ProGan

SIDE, WIDTH = 128, 512
MOST = 2**63 - 1
LATENT = Tensor("latent", "FP32", (WIDTH,))
PIXELS = Tensor("pixels", "FP32", (SIDE, SIDE, 3))
# What examples, corners and the evaluation make their images of: no seed twice.
EXAMPLE_SEED, CORNER_SEED, EVALUATION_SEED = 1, 1_000, 2_000
EVALUATED = 32


def load(files: Mapping[str, Path]) -> ProGan:
    """The net with its weights."""
    from modelyard_build.nets.progan import load_progan

    return load_progan(files)


@functools.lru_cache(maxsize=1)
def _kept(files: frozenset[tuple[str, Path]]) -> ProGan:
    """The net for the next reference too: reading its weights takes longer than an image does."""
    return load(dict(files))


def noise(seed: int, index: int, width: int) -> npt.NDArray[np.float32]:
    """What image `index` of a seed is made of, float32 [width]; see the head of the step."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    return generator.standard_normal(width, dtype=np.float32)


def example_latents(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """`latent`, float32 [batch, 512]."""
    return {"latent": np.stack([noise(EXAMPLE_SEED, index, WIDTH) for index in range(batch)])}


def asked(seeds: Sequence[int], firsts: Sequence[int], counts: Sequence[int]) -> Arrays:
    """Requests: each input int64 [requests, 1]."""
    columns = {"seed": seeds, "first_index": firsts, "count": counts}
    return {name: np.array(values, np.int64).reshape(-1, 1) for name, values in columns.items()}


def examples(files: Mapping[str, Path], batch: int) -> Arrays:
    """Requests for one image and for two, of the beginning and of the middle of a seed."""
    numbers = range(batch)
    return asked(
        [EXAMPLE_SEED + number for number in numbers],
        [7 * (number % 3) for number in numbers],
        [1 + number % 2 for number in numbers],
    )


def corners(files: Mapping[str, Path]) -> Sequence[Arrays]:
    """The last seed and the last index; more images than are under way at a time."""
    return [asked([MOST], [MOST - 1], [1]), asked([CORNER_SEED], [0], [5])]


@functools.lru_cache(maxsize=2 * EVALUATED)
def image(net: ProGan, seed: int, index: int) -> npt.NDArray[np.uint8]:
    """PyTorch's image `index` of a seed, uint8 [side, side, 3]: alone, as it is served. Read-only, for it is kept."""
    import torch

    latent = torch.from_numpy(noise(seed, index, net.project.in_features))
    with torch.inference_mode():
        pixels = net(latent[None])[0].numpy()
    made: npt.NDArray[np.uint8] = np.rint(pixels * 255).astype(np.uint8)
    made.flags.writeable = False
    return made


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch and Pillow answer: each output [requests, most images of one, 1]."""
    net = _kept(frozenset(files.items()))
    rows = zip(*(inputs[name].reshape(-1).tolist() for name in ("seed", "first_index", "count")), strict=True)
    answers = [_answer(net, *row) for row in rows]
    return {name: joined_rows([answer[name][None] for answer in answers]) for name in answers[0]}


def _answer(net: ProGan, seed: int, first: int, count: int) -> Arrays:
    """Of one request: each output [images, 1]."""
    indices = range(first, first + count)
    made = np.empty((count, 1), np.object_)
    made[:, 0] = [RoundedPng(_png(image(net, seed, index))) for index in indices]
    return {
        "image": made,
        "index": np.array(indices, np.int64)[:, None],
        "seed": np.full((count, 1), seed, np.int64),
    }


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def evaluation_data(files: Mapping[str, Path], count: int = EVALUATED) -> tuple[Arrays, npt.NDArray[np.uint8]]:
    """Requests for one image each, and PyTorch's images: uint8 [requests, side, side, 3]."""
    indices = range(count)
    inputs, net = asked([EVALUATION_SEED] * count, indices, [1] * count), _kept(frozenset(files.items()))
    return inputs, np.stack([image(net, EVALUATION_SEED, index) for index in indices])


def figures(outputs: Arrays, truth: Array) -> Mapping[str, float]:
    """How alike the images are to PyTorch's, and how different from one another.

    Not how good they are: that takes people, or a distance between distributions (FID) with photographs and a net of
    its own.
    """
    made = image_figures.decoded(outputs["image"].reshape(-1))
    alike = [image_figures.ssim(one, other) for one, other in zip(made, truth, strict=True)]
    return {"SSIM to PyTorch": float(np.mean(alike)), "diversity": image_figures.diversity(made)}


def details(outputs: Arrays, truth: Array) -> Mapping[str, Any]:
    """What the means hide."""
    made = image_figures.decoded(outputs["image"].reshape(-1))
    differences = np.abs(made.astype(np.int16) - truth)
    ratios = [image_figures.psnr(one, other) for one, other in zip(made, truth, strict=True)]
    return {
        "share of equal values": float((differences == 0).mean()),
        "largest difference, of 255": int(differences.max()),
        "least PSNR, dB": round(min(ratios), 2) if np.isfinite(min(ratios)) else "equal",
        "least SSIM": min(image_figures.ssim(one, other) for one, other in zip(made, truth, strict=True)),
    }


NET = Model(
    name="image_generator_net",
    summary="ProGAN, 128 x 128: noise in, an image of a face out",
    load=load,
    inputs=(LATENT,),
    outputs=(PIXELS,),
    examples=example_latents,
    assets=progan_assets.WEIGHT_ASSETS,
    max_batch_size=4,
    # Requests that were joined would make batches of changing sizes, and of the same seed another image.
    dynamic_batching=None,
    optimum_batch_size=1,
)

GENERATOR = PythonModel(
    name="image_generator",
    summary="a seed and a count in, a stream of faces out, each a PNG file of 128 x 128",
    source=Path(steps.__path__[0]) / "image_generator.py",
    inputs=(
        Tensor("seed", "INT64", (1,)),
        Tensor("count", "INT64", (1,)),
        Tensor("first_index", "INT64", (1,), optional=True),
    ),
    outputs=(Tensor("image", "BYTES", (1,)), Tensor("index", "INT64", (1,)), Tensor("seed", "INT64", (1,))),
    files={},
    parameters={
        "latent_width": str(WIDTH),
        "images_per_call": "1",
        "calls_at_once": "3",
        "max_streams": "64",
        "max_count": "1000",
    },
    calls={"net": NET.name},
    assets=progan_assets.WEIGHT_ASSETS,
    examples=examples,
    reference=reference,
    corners=corners,
    max_batch_size=0,
    dynamic_batching=None,
    decoupled=True,
    verified_items=8,
    evaluation=Evaluation(
        data=evaluation_data,
        figures=figures,
        details=details,
        data_sha256=hashlib.sha256(f"Philox {EVALUATION_SEED}, 0 to {EVALUATED - 1}".encode()).hexdigest(),
    ),
)

MODELS = (NET, GENERATOR)
