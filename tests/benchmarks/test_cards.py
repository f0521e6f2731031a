"""The cards: what they measure, and how it reads."""

from __future__ import annotations

import cards
from measure.card_models import BATCH, CARDS, LENGTH, SIZES


def test_every_card_is_of_one_shape() -> None:
    """Batches of 32 and nothing that varies: the figures of two machines are of the same work."""
    assert set(CARDS) == {"resnet50_b32", "bert_base_128_b32"}
    for card in CARDS.values():
        assert card.model.max_batch_size == card.model.optimum_batch_size == BATCH
        assert all(isinstance(dim, int) for tensor in card.model.inputs for dim in tensor.dims)
    assert CARDS["bert_base_128_b32"].model.inputs[0].dims == (LENGTH,)
    assert SIZES == {"sequence": LENGTH}


def test_the_table_says_what_is_missing() -> None:
    """Eager PyTorch has no cosine to itself; what cannot run has a reason in place of figures."""
    row = {"throughput": 9.5, "batch_ms": [3300.0, 3400.0], "latency_ms": 120.0, "ratio": [1, 1, 1]}
    measured = {
        "hardware": "cpu-avx2",
        "gpu": "",
        "cores": 2,
        "batch": 32,
        "instances": 2,
        "rounds": 10,
        "candidates": {
            "eager PyTorch": {**row, "cosine": None},
            "openvino-bf16, served": {**row, "ratio": [2.5, 2.25, 2.75], "cosine": 0.99995},
        },
        "missing": {"tensorrt-fp16": "TensorRT is not installed"},
    }
    lines = cards.table("resnet50_b32", measured).splitlines()
    assert lines[0].startswith("resnet50_b32: cpu-avx2, 2 cores")
    assert lines[2].split()[:2] == ["eager", "PyTorch"]
    assert "2.500 [2.250, 2.750]" in lines[3]
    assert lines[3].endswith("0.999950")
    assert lines[4] == "tensorrt-fp16: TensorRT is not installed"
