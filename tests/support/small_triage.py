"""The triage with a small net: the project's own configs, decoder and decision, and a net that takes its time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from modelyard_build.models.imaging_triage import DECISION, DECODER, ENSEMBLE, NET, SIZE

ROOT = Path(__file__).parents[2]
# A convolution of so many channels takes some milliseconds for one image: a queue can form.
CHANNELS = 32
_RANDOM = np.random.default_rng(11)
_WEIGHTS: dict[str, npt.NDArray[Any]] = {
    "first": _RANDOM.normal(0, 0.01, (CHANNELS, 3, 3, 3)).astype(np.float32),
    "second": _RANDOM.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32),
    "head": _RANDOM.normal(0, 2.0, (CHANNELS, 2)).astype(np.float32),
    "within": np.array([2, 3], np.int64),
}


def write_small_triage(repository: Path) -> Path:
    """Writes the four models; returns the repository."""
    for model in (DECODER, NET, DECISION, ENSEMBLE):
        folder = repository / model.name
        shutil.copytree(
            ROOT / "model_repository" / model.name, folder, ignore=shutil.ignore_patterns("[0-9]*", "configs")
        )
        (folder / "1").mkdir()
    for step in (DECODER, DECISION):
        shutil.copyfile(step.source, repository / step.name / "1" / "model.py")
    onnx.save(_graph(), str(repository / NET.name / "1" / "model.onnx"))
    return repository


def logits(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What the net gives: uint8 [batch, 150, 150, 3] -> float32 [batch, 2]."""
    session = onnxruntime.InferenceSession(_graph().SerializeToString())
    (found,) = session.run(None, {"pixels": pixels})
    scores: npt.NDArray[np.float32] = found
    return scores


def _graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["values"], ["channels first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["channels first", "first"], ["inner"]),
        helper.make_node("Relu", ["inner"], ["bent"]),
        helper.make_node("Conv", ["bent", "second"], ["outer"]),
        helper.make_node("ReduceMean", ["outer", "within"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small_triage",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in _WEIGHTS.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
