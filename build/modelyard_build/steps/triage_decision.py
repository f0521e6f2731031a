"""Scores to a calibrated probability and a recommendation, behind a classifier: a model for Triton's Python backend.

A demonstration, not medical: nothing that comes out of here may decide on anybody's care.

The logits are divided by a temperature before the softmax (Guo et al., 2017, arXiv:1706.04599), so that of the items
with a probability of 0.7 about 7 in 10 have the finding. Scores that are no numbers are refused: compared with a
threshold, they would pass for harmless.

Reads from config.pbtxt's `parameters`:

- `labels`: the classes in the order of the logits, between commas.
- `finding`: the one of them that makes an item urgent.
- `temperature`: what the logits are divided by, above 0; 1 takes the net's probabilities as they are.
- `urgent_threshold`: from this probability of the finding on an item is urgent. Where an item that waits with the
  finding weighs as much as n that are hurried without it, 1 / (1 + n) is the threshold that costs least.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

URGENT, ROUTINE = b"urgent", b"routine"


@dataclass(frozen=True)
class Decision:
    """The step's parameters; see the head of this file."""

    labels: tuple[str, ...]
    finding: int
    temperature: float
    urgent_threshold: np.float32


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the parameters.

        Args:
            args: Triton's description of the instance.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        self.decision = decision_of({name: value.get("string_value", "") for name, value in parameters.items()})

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decides on the items of each request; a request with scores that are no numbers fails alone.

        Args:
            requests: each with `logits`, FP32 [batch, classes].

        Returns:
            A response for each: `scores`, the logits as they came, and `probabilities`, FP32 [batch, classes]; `label`,
            the most probable class, BYTES [batch, 1]; `recommendation`, "urgent" or "routine", BYTES [batch, 1];
            `urgent_threshold` FP32 [batch, 1].
        """
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        logits = pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()
        if not np.isfinite(logits).all():
            item = int(np.argwhere(~np.isfinite(logits))[0][0])
            reason = f"image {item}: the scores are {logits[item].tolist()}, expected numbers. Nothing is decided."
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(reason, pb_utils.TritonError.INTERNAL))
        outputs = decided(logits, self.decision)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


def decided(logits: npt.NDArray[np.float32], decision: Decision) -> dict[str, npt.NDArray[Any]]:
    """The outputs by name, for float32 [batch, classes]."""
    # In float64, and with the largest taken off: no score is too large.
    values = logits.astype(np.float64) / decision.temperature
    powers = np.exp(values - values.max(-1, keepdims=True))
    probabilities = (powers / powers.sum(-1, keepdims=True)).astype(np.float32)
    # What is compared is what is given out: a reader comes to the same decision.
    urgent = probabilities[:, decision.finding] >= decision.urgent_threshold
    labels = np.array([label.encode() for label in decision.labels], np.object_)
    return {
        # As an output of this step: an ensemble that gives out a tensor which is also an input of a later step fails
        # every request that does not ask for it ("unexpected deadlock", Triton 24.10).
        "scores": logits,
        "probabilities": probabilities,
        "label": labels[probabilities.argmax(-1)][:, None],
        "recommendation": np.array([URGENT if one else ROUTINE for one in urgent], np.object_)[:, None],
        "urgent_threshold": np.full((len(logits), 1), decision.urgent_threshold, np.float32),
    }


def decision_of(parameters: dict[str, str]) -> Decision:
    """The decision that the parameters describe.

    Raises:
        ValueError: one is missing or makes no sense; a load error names it.
    """
    labels = tuple(label.strip() for label in parameters.get("labels", "").split(","))
    if len(labels) < 2 or not all(labels):
        raise _wrong(parameters, "labels", "two or more names between commas, in the order of the logits")
    if parameters.get("finding") not in labels:
        raise _wrong(parameters, "finding", f"one of the labels: {', '.join(labels)}")
    temperature = _number(parameters, "temperature")
    if not 0 < temperature < math.inf:
        raise _wrong(parameters, "temperature", "a number above 0")
    threshold = _number(parameters, "urgent_threshold")
    if not 0 <= threshold <= 1:
        raise _wrong(parameters, "urgent_threshold", "a probability, 0 to 1")
    return Decision(labels, labels.index(parameters["finding"]), temperature, np.float32(threshold))


def _number(parameters: dict[str, str], name: str) -> float:
    """NaN for what is no number, so that every comparison fails."""
    try:
        return float(parameters.get(name, ""))
    except ValueError:
        return math.nan


def _wrong(parameters: dict[str, str], name: str, expected: str) -> ValueError:
    got = parameters.get(name, "")
    return ValueError(
        f"parameters {{ key: {name!r} }} is {got!r}, expected {expected}, as string_value. Mend it in config.pbtxt."
    )
