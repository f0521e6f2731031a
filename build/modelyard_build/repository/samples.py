"""Real samples beside a model: golden ones with their expected outputs, and what Triton warms the model up with."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from modelyard_build.model import Array, Arrays, Tensor
from modelyard_build.repository.versions import write_missing

GOLDEN = Path("golden") / "samples.json"
WARMUP = "warmup"
LABELS = "labels.txt"
# Samples are read by people and kept in git: of large ones there are few.
MOST_BYTES = 900 << 10


def golden_json(inputs: list[Arrays], outputs: list[Arrays]) -> bytes:
    """Samples in perf_analyzer's `--input-data` form, expected outputs as its `validation_data`.

    As many as fit into `MOST_BYTES`, and one in any case.

    Args:
        inputs: for each sample its tensors, without the batch dimension.
        outputs: the same for what PyTorch answers.
    """
    count = len(inputs)
    while len(written := _written(inputs[:count], outputs[:count])) > MOST_BYTES and count > 1:
        count -= 1
    return written


def _written(inputs: list[Arrays], outputs: list[Arrays]) -> bytes:
    document = {
        "data": [_entry(sample) for sample in inputs],
        "validation_data": [_entry(sample) for sample in outputs],
    }
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def _entry(sample: Arrays) -> dict[str, Any]:
    return {name: {"content": _content(array), "shape": list(array.shape)} for name, array in sample.items()}


def _content(array: Array) -> list[Any] | dict[str, str]:
    """The elements; or the raw tensor in base64, which perf_analyzer knows too, where no one would read them."""
    flat = array.reshape(-1)
    if array.dtype == np.uint8 or (array.dtype == np.object_ and not all(map(_is_text, flat))):
        return {"b64": base64.b64encode(warmup_bytes(array)).decode()}
    if array.dtype == np.object_:
        return [element.decode() for element in flat]
    if array.dtype.kind == "f":
        # Seven significant digits are what float32 carries; more would differ from machine to machine.
        return [float(f"{value:.7g}") for value in flat]
    values: list[Any] = flat.tolist()
    return values


def _is_text(element: bytes) -> bool:
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


def warmup_bytes(array: Array) -> bytes:
    """A tensor as Triton reads it from warmup/: row-major; strings each behind its length (uint32, little-endian)."""
    if array.dtype == np.object_:
        return b"".join(struct.pack("<I", len(element)) + element for element in array.reshape(-1))
    return np.ascontiguousarray(array).tobytes()


def write_warmup(model_folder: Path, sample: Arrays) -> None:
    """Writes one file for each input of a sample without batch dimension, where none stands."""
    for name, array in sample.items():
        write_missing(model_folder / WARMUP / name, warmup_bytes(array))


def labels_of(outputs: tuple[Tensor, ...]) -> dict[str, bytes]:
    """The file with the labels of the output that has any, by its name."""
    labels = next((tensor.labels for tensor in outputs if tensor.labels), ())
    return {LABELS: ("\n".join(labels) + "\n").encode()} if labels else {}


def write_labels(model_folder: Path, outputs: tuple[Tensor, ...]) -> None:
    """Writes labels.txt for the output that has labels, where none stands."""
    for name, content in labels_of(outputs).items():
        write_missing(model_folder / name, content)
