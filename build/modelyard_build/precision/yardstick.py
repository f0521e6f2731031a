"""How far a converted graph is from the float32 graph, in units of what its quality allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from modelyard_build.model import Arrays, Model, Tensor
from modelyard_build.precision.calibration import FEW
from modelyard_build.precision.sessions import Session
from modelyard_build.quality import Quality
from modelyard_build.similarity import agreement, min_cosine

# How much of the allowed error a search may use up: the rows that a verification sees are others.
MARGIN = 0.75


class Yardstick:
    """Holds the float32 graph's answers to the held-out inputs."""

    def __init__(self, model: Model, graph: onnx.ModelProto, batches: Sequence[Arrays], quality: Quality) -> None:
        session = Session(graph)
        self._model = model
        self._batches = batches
        self._quality = quality
        self._expected = [session(batch) for batch in batches]

    def error(self, graph: onnx.ModelProto) -> float:
        """The worst of all outputs and rows: 1 is just allowed, infinity is an answer that is no number.

        Args:
            graph: has the inputs and outputs of the float32 graph.
        """
        return self._over(graph, 1)

    def quick_error(self, graph: onnx.ModelProto) -> float:
        """The same over a few of the batches, one of each size, to compare with one another."""
        return self._over(graph, FEW)

    def _over(self, graph: onnx.ModelProto, every: int) -> float:
        session = Session(graph)
        answers = [session(batch) for batch in self._batches[::every]]
        expected = self._expected[::every]
        return max(self._of_output(tensor, expected, answers) for tensor in self._model.outputs)

    def _of_output(self, tensor: Tensor, reference: Sequence[Arrays], answers: Sequence[Arrays]) -> float:
        name = tensor.name
        pairs = [(expected[name], answer[name]) for expected, answer in zip(reference, answers, strict=True)]
        if any(not np.isfinite(answer).all() for _, answer in pairs):
            return float("inf")
        cosine = min(min_cosine(expected, answer) for expected, answer in pairs)
        if not tensor.labels:
            return (1 - cosine) / (1 - self._quality.min_cosine)
        least = self._quality.min_class_cosine
        agreed = agreement([expected for expected, _ in pairs], [answer for _, answer in pairs], least)
        return max((1 - cosine) / (1 - least), (1 - agreed) / (1 - self._quality.min_agreement))
