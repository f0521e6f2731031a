"""The image classifier with a small net: the project's own configs and decoder, and a net of one layer behind them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelyard_build.models.image_classifier import DECODER, ENSEMBLE, NET, PROBABILITIES, SIZE

ROOT = Path(__file__).parents[2]
# The net sees the mean colours of 7 x 7 squares.
SQUARES = 7
CLASSES = len(PROBABILITIES.labels)
_SIDE = SIZE // SQUARES
_WEIGHTS = np.random.default_rng(7).normal(0, 0.02, (SQUARES * SQUARES * 3, CLASSES)).astype(np.float32)


def write_small_classifier(repository: Path) -> Path:
    """Writes the three models; returns the repository."""
    for model in (DECODER, NET, ENSEMBLE):
        folder = repository / model.name
        shutil.copytree(
            ROOT / "model_repository" / model.name, folder, ignore=shutil.ignore_patterns("[0-9]*", "configs")
        )
        (folder / "1").mkdir()
    shutil.copyfile(DECODER.source, repository / DECODER.name / "1" / "model.py")
    onnx.save(_graph(), str(repository / NET.name / "1" / "model.onnx"))
    return repository


def probabilities(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What the net gives: uint8 [batch, 224, 224, 3] -> float32 [batch, 1000]."""
    squares = pixels.reshape(-1, SQUARES, _SIDE, SQUARES, _SIDE, 3).astype(np.float32).mean((2, 4))
    logits = squares.reshape(len(pixels), -1) @ _WEIGHTS
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: npt.NDArray[np.float32] = powers / powers.sum(1, keepdims=True)
    return shares


def _graph() -> onnx.ModelProto:
    split = np.array([0, SQUARES, _SIDE, SQUARES, _SIDE, 3], np.int64)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["values", "split"], ["squares"]),
        helper.make_node("ReduceMean", ["squares", "within"], ["colours"], keepdims=0),
        helper.make_node("Flatten", ["colours"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {"split": split, "within": np.array([2, 4], np.int64), "weights": _WEIGHTS}
    graph = helper.make_graph(
        nodes,
        "small_classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
