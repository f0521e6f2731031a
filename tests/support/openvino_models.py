"""Small OpenVINO models for tests, and the folders that Triton loads them from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops


def named(node: Any, name: str) -> Any:
    """The node, its output called `name`."""
    node.output(0).tensor.set_names({name})
    return node


def parameter(shape: Sequence[Any], dtype: Any = np.float32, name: str = "x", layout: str = "") -> Any:
    """An input."""
    node = named(ops.parameter(openvino.PartialShape(list(shape)), dtype, name=name), name)
    if layout:
        node.set_layout(openvino.Layout(layout))
    return node


def identity(dtype: Any, shape: Sequence[Any] = (-1, -1)) -> openvino.Model:
    """Output y is input x."""
    x = parameter(shape, dtype)
    order = ops.constant(np.zeros(len(shape), dtype=np.int64))
    return openvino.Model([named(ops.reshape(x, order, True), "y")], [x])


def matmul(weights: np.ndarray, batch: int = -1, layout: str = "") -> openvino.Model:  # type: ignore[type-arg]
    """Input x FP32 [batch, n] @ weights [n, m] -> y [batch, m]."""
    x = parameter((batch, weights.shape[0]), layout=layout)
    y = named(ops.matmul(x, ops.constant(weights.astype(np.float32)), False, False), "y")
    model = openvino.Model([y], [x])
    if layout:
        model.get_results()[0].set_layout(openvino.Layout(layout))
    return model


def pair() -> openvino.Model:
    """Input x FP32 [batch, n] -> doubled = 2x, negated = -x."""
    x = parameter((-1, -1))
    doubled = named(ops.multiply(x, ops.constant(np.float32(2))), "doubled")
    return openvino.Model([doubled, named(ops.negative(x), "negated")], [x])


def convolution() -> openvino.Model:
    """Input x FP32 [1, 3, 4, 4] -> y [1, 2, 4, 4], every weight 1."""
    x = parameter((1, 3, 4, 4))
    weights = ops.constant(np.ones((2, 3, 1, 1), dtype=np.float32))
    return openvino.Model([named(ops.convolution(x, weights, [1, 1], [0, 0], [0, 0], [1, 1]), "y")], [x])


def write_model(repository: Path, name: str, built: openvino.Model, config: str) -> Path:
    """Writes ``<name>/config.pbtxt`` and ``<name>/1/model.xml`` with its weights; returns the model's folder."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    openvino.save_model(built, folder / "1" / "model.xml", compress_to_fp16=False)
    return folder
