"""Weights as TensorFlow.js' converter writes them: a list in model.json, the numbers in shards beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_DTYPES = {"float32": "<f4", "int32": "<i4"}


def read_weights(topology: Path, shards: Mapping[str, Path]) -> dict[str, npt.NDArray[Any]]:
    """Every weight by its name: raw and little-endian, one after another, whatever the shards' own limits.

    Args:
        topology: model.json.
        shards: by the names under which model.json lists them.

    Raises:
        ValueError: the shards are longer or shorter than the list says.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    for group in json.loads(topology.read_text())["weightsManifest"]:
        content = b"".join(shards[name].read_bytes() for name in group["paths"])
        start = 0
        for weight in group["weights"]:
            dtype, size = np.dtype(_DTYPES[weight["dtype"]]), int(np.prod(weight["shape"]))
            stop = start + size * dtype.itemsize
            found[weight["name"]] = np.frombuffer(content[start:stop], dtype).reshape(weight["shape"])
            start = stop
        if start != len(content):
            raise ValueError(f"the shards hold {len(content)} bytes; {topology.name} lists {start}")
    return found
