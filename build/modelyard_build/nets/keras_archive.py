"""Weights out of a Keras 3 archive (`.keras`), read without Keras: nothing in it is run or unpickled.

The archive is a zip of `config.json`, the layers with their names, and `model.weights.h5`, the arrays. In there a layer
stands under its kind and a number instead of its name: the n-th of its kind within its model, in the config's order
(`keras/src/saving/saving_lib.py`, `_save_container_state`).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

Variables: TypeAlias = list[npt.NDArray[np.float32]]

# The kinds of layers that hold something, by their class in the config; the value is their name in the file.
_KINDS = {
    "Functional": "functional",
    "Conv2D": "conv2d",
    "SeparableConv2D": "separable_conv2d",
    "BatchNormalization": "batch_normalization",
    "Dense": "dense",
}


def read_variables(archive: Path) -> dict[str, Variables]:
    """Every layer's arrays by the layer's name, in Keras' order and layout.

    A convolution has its kernel [height, width, inputs, outputs]; a separable one the kernel of each channel [height,
    width, inputs, 1] and the one across channels; a batch norm gamma, beta, mean and variance; a dense layer its kernel
    [inputs, outputs] and its bias.

    Raises:
        ValueError: the arrays are not those of the layers.
    """
    with zipfile.ZipFile(archive) as opened:
        layers = json.loads(opened.read("config.json"))["config"]["layers"]
        content = io.BytesIO(opened.read("model.weights.h5"))
    with h5py.File(content, "r") as file:
        found = {name: _variables(file, path) for name, path in _places(layers, "layers")}
    return {name: variables for name, variables in found.items() if variables}


def _places(layers: Sequence[Mapping[str, Any]], folder: str) -> Iterator[tuple[str, str]]:
    """Each layer's name and its group in the file; those of models within the model, too."""
    counted: Counter[str] = Counter()
    for layer in layers:
        kind = _KINDS.get(layer["class_name"])
        if kind is None:
            continue
        path = f"{folder}/{kind}_{counted[kind]}" if counted[kind] else f"{folder}/{kind}"
        counted[kind] += 1
        yield layer["config"]["name"], path
        yield from _places(layer["config"].get("layers", ()), f"{path}/layers")


def _variables(file: Any, path: str) -> Variables:
    if path not in file:
        raise ValueError(f"model.weights.h5 has no {path}; config.json lists the layer")
    group = file[path].get("vars", {})
    return [np.asarray(group[str(number)]) for number in range(len(group))]
