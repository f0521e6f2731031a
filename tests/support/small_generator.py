"""`image_generator` in small: its own code on a net of random weights that makes images of 16 x 16, nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard_build.assets import Asset, LocalAsset
from modelyard_build.model import AnyModel, Array, Arrays, Model, PythonModel, Tensor
from modelyard_build.models import image_generator

WIDTH, SIDE = 32, 16
EVALUATED = 8
CHANNELS = (16, 16, 8)
SHARD = "group1-shard1of1.bin"


def write_small_progan(folder: Path) -> dict[str, Path]:
    """Writes `topology` and its one shard into a folder, as the converter does."""
    weights = _weights()
    entries = [{"name": name, "shape": list(array.shape), "dtype": "float32"} for name, array in weights.items()]
    files = {"topology": folder / "model.json", SHARD: folder / SHARD}
    files["topology"].write_text(json.dumps({"weightsManifest": [{"paths": [SHARD], "weights": entries}]}))
    files[SHARD].write_bytes(b"".join(array.tobytes() for array in weights.values()))
    return files


def _weights() -> dict[str, npt.NDArray[np.float32]]:
    generator = np.random.default_rng(17)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        # Outputs of the size of the inputs.
        scale = 1 / np.sqrt(np.prod(shape[:-1])) if len(shape) > 1 else 0.1
        return (scale * generator.standard_normal(shape)).astype(np.float32)

    inputs = (WIDTH, *(width for width in CHANNELS for _ in range(2)))
    outputs = (*(width for width in CHANNELS for _ in range(2)), 3)
    sides = (4, *(3 for _ in outputs[1:-1]), 1)
    weights = {}
    for number, (side, before, own) in enumerate(zip(sides, inputs, outputs, strict=True)):
        weights[f"module_apply_default/Conv2D{f'_{number}' if number else ''}/merged_input"] = normal(
            side, side, before, own
        )
        last = number == len(outputs) - 1
        bias = f"add_{2 * len(outputs)}" if last else f"res_{number // 2}/conv{number % 2}/bias"
        weights[f"module_apply_default/{bias}" if last else f"module/g_model/{bias}"] = normal(own)
    return weights


def declare(folder: Path) -> tuple[AnyModel, ...]:
    """The system's own declarations, with the files of `write_small_progan` in the place of the fetched ones."""
    own: dict[str, Asset] = {name: LocalAsset(path) for name, path in write_small_progan(folder).items()}
    net, generator = image_generator.MODELS
    assert isinstance(net, Model)
    assert isinstance(generator, PythonModel)
    evaluation = generator.evaluation
    assert evaluation is not None
    return (
        replace(
            net,
            assets=own,
            inputs=(Tensor("latent", "FP32", (WIDTH,)),),
            outputs=(Tensor("pixels", "FP32", (SIDE, SIDE, 3)),),
            examples=example_latents,
        ),
        replace(
            generator,
            assets=own,
            parameters={**generator.parameters, "latent_width": str(WIDTH)},
            evaluation=replace(evaluation, data=evaluation_data),
        ),
    )


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, Array]:
    """As the system's own, of fewer images."""
    return image_generator.evaluation_data(files, EVALUATED)


def example_latents(files: object, batch: int, sizes: object) -> dict[str, npt.NDArray[np.float32]]:
    """As the system's own, of the small net's width."""
    return {"latent": np.stack([image_generator.noise(1, index, WIDTH) for index in range(batch)])}
