"""What the task on X-rays does without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard_client.errors import IncompatibleModel
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.tasks.imaging_triage import check_outputs, parse_triage

ANSWER: dict[str, Any] = {
    "probabilities": np.array([[b"0.700000:1:PNEUMONIA", b"0.300000:0:NORMAL"]], np.object_),
    "label": np.array([[b"PNEUMONIA"]], np.object_),
    "recommendation": np.array([[b"urgent"]], np.object_),
    "urgent_threshold": np.array([[0.25]], np.float32),
}


def test_an_answer_becomes_a_result() -> None:
    """The probability is that of the finding, whatever is most probable; what it is stands in both of its texts."""
    triage = parse_triage(ANSWER, "NORMAL")
    assert (triage.label, triage.probability, triage.urgent, triage.urgent_threshold) == ("PNEUMONIA", 0.3, True, 0.25)
    assert list(triage.probabilities.items()) == [("PNEUMONIA", 0.7), ("NORMAL", 0.3)]
    assert str(triage) == (
        "urgent: 0.300 for the finding, urgent from 0.250 on; most probably PNEUMONIA (demonstration, not medical)"
    )
    assert "demonstration, not medical" in repr(triage)


def test_a_finding_that_the_model_does_not_know() -> None:
    """It says which there are."""
    with pytest.raises(IncompatibleModel, match=r"no class 'FRACTURE'; it has PNEUMONIA, NORMAL\. Pass one of them"):
        parse_triage(ANSWER, "FRACTURE")


def test_classes_without_labels() -> None:
    """A number alone says nothing to a reader."""
    bare = {**ANSWER, "probabilities": np.array([[b"0.700000:1", b"0.300000:0"]], np.object_)}
    with pytest.raises(IncompatibleModel, match="has no label"):
        parse_triage(bare, "PNEUMONIA")


def test_another_kind_of_model() -> None:
    """What is missing is named, and what the task needs."""
    inputs = (TensorSpec("image", "BYTES", (-1, 1)),)
    metadata = ModelMetadata("m", ("1",), "ensemble", inputs, (TensorSpec("probabilities", "FP32", (-1, 4)),))
    with pytest.raises(IncompatibleModel, match="'m' has no label, recommendation, urgent_threshold"):
        check_outputs(metadata)
