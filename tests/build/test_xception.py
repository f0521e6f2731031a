"""The Keras archive's layers by name, and Keras' padding, held against arithmetic that one can follow."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch

from modelyard_build.nets.keras_archive import read_variables
from modelyard_build.nets.xception import SIZE, Block, SeparableConv2d, Xception

Arrays: TypeAlias = list[npt.NDArray[np.float32]]
# The batch norm comes before the second convolution in the file's numbering of its own kind alone.
LAYERS: list[tuple[str, str, list[tuple[int, ...]]]] = [
    ("InputLayer", "input", []),
    ("Conv2D", "first", [(1, 1, 2, 3)]),
    ("BatchNormalization", "norm", [(3,)] * 4),
    ("Conv2D", "second", [(1, 1, 3, 3)]),
    ("Dropout", "dropout", []),
    ("Dense", "scores", [(3, 2), (2,)]),
]


def write_archive(path: Path, leave_out: str = "") -> dict[str, Arrays]:
    """Writes a Keras archive as Keras 3.3 does, with a model inside the model; returns the arrays by layer."""
    inner = [{"class_name": kind, "config": {"name": name}} for kind, name, _ in LAYERS[:4]]
    outer = [{"class_name": kind, "config": {"name": name}} for kind, name, _ in LAYERS[4:]]
    outer.insert(0, {"class_name": "Functional", "config": {"name": "within", "layers": inner}})
    places = [*(f"functional/layers/{place}" for place in ("conv2d", "batch_normalization", "conv2d_1")), "dense"]
    holding = [(name, shapes) for _, name, shapes in LAYERS if shapes]
    arrays: dict[str, Arrays] = {}
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for place, (name, shapes) in zip(places, holding, strict=True):
            arrays[name] = [np.random.default_rng(len(arrays)).random(shape).astype(np.float32) for shape in shapes]
            for number, array in enumerate(arrays[name]):
                if name != leave_out:
                    file[f"layers/{place}/vars/{number}"] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": outer}}))
        archive.writestr("model.weights.h5", content.getvalue())
    return arrays


def test_arrays_are_found_by_the_names_of_their_layers(tmp_path: Path) -> None:
    """Numbered by kind within each model, as Keras does; layers without arrays are left out."""
    wanted = write_archive(tmp_path / "net.keras")
    found = read_variables(tmp_path / "net.keras")
    assert found.keys() == wanted.keys()
    for name, arrays in wanted.items():
        for own, array in zip(found[name], arrays, strict=True):
            np.testing.assert_array_equal(own, array)


def test_an_archive_without_a_layer_is_refused(tmp_path: Path) -> None:
    """By its place in the file."""
    write_archive(tmp_path / "net.keras", leave_out="second")
    with pytest.raises(ValueError, match=r"has no layers/functional/layers/conv2d_1; config\.json lists the layer"):
        read_variables(tmp_path / "net.keras")


def keras_max_pool(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """3 x 3, stride 2, "same": what is missing is added at the end first (float [height, width])."""
    side = len(features)
    half = -(-side // 2)
    missing = max((half - 1) * 2 + 3 - side, 0)
    padded = np.pad(features, (missing // 2, missing - missing // 2), constant_values=-np.inf)
    rows = [[padded[2 * y : 2 * y + 3, 2 * x : 2 * x + 3].max() for x in range(half)] for y in range(half)]
    return np.array(rows)


@pytest.mark.parametrize("side", [72, 36, 18, 9, 6, 5])
def test_blocks_halve_as_keras_does(side: int) -> None:
    """Values below zero are kept at the rim, too: nothing is padded with zeros."""
    features = -1 - torch.rand(1, 1, side, side, dtype=torch.float64)
    pooled = Block(1, (1, 1), side).pool(features)
    np.testing.assert_array_equal(pooled[0, 0].numpy(), keras_max_pool(features[0, 0].numpy()))


def test_the_net_takes_bytes_and_gives_scores() -> None:
    """With whatever weights; as many convolutions as the paper's net, and each block was told the side that enters."""
    net, sides = Xception().eval(), dict[int, int]()

    def note(number: int) -> Any:
        return lambda _, inputs: sides.__setitem__(number, inputs[0].shape[-1])

    for number, block in enumerate(net.blocks, 2):
        block.register_forward_pre_hook(note(number))
    with torch.inference_mode():
        scores = net(torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8))
    assert scores.shape == (2, 2)
    assert sum(isinstance(layer, SeparableConv2d) for layer in net.modules()) == 34
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(21.1e6, rel=0.01)
    assert {number: sides[number] for number in (2, 3, 4, 13)} == {2: 72, 3: 36, 4: 18, 13: 9}
