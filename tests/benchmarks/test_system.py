"""Systems from end to end: which items are alike, what stands around the net."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from measure.load_generator import Round
from measure.overhead import Load, Work
from measure.system import Parts, Turn, alike, parts_of, report, show
from modelyard_build.models.text_embedder import ENCODER, ENSEMBLE, TOKENIZER

TEXT = parts_of("text_embedder")


def load(throughput: float, tokenizer_s: float = 0.1) -> Load:
    """100 rows in batches of 10; the net computed 1 s for them."""
    client = Round(throughput, [0.1] * 99 + [0.3], requests=100, seconds=10.0, cpu_seconds=2.0)
    return Load(client, 8.0, {TOKENIZER.name: Work(100, 20, tokenizer_s), ENCODER.name: Work(100, 10, 1.0)})


def test_the_parts_are_those_of_the_declaration() -> None:
    """The steps in order, and the one that is a PyTorch model."""
    assert Parts(ENSEMBLE, (TOKENIZER.name, ENCODER.name), ENCODER) == TEXT


def test_the_figures_are_of_pairs() -> None:
    """Served over in process, on over off, the tail at the operating point, the step's share."""
    turns = [Turn(load(90), load(30), load(50), own=100.0)] * 3
    found = report(TEXT, "openvino-bf16", turns, cores=2)
    assert found.ratio.mean == pytest.approx(0.9)
    assert found.less_load.mean == pytest.approx(1.0)
    assert found.batching.mean == pytest.approx(3)
    assert (found.batch, found.p50_ms) == pytest.approx((10, 100))
    assert found.p99_ms > 100
    assert found.around == {TOKENIZER.name: pytest.approx(0.1)}
    assert "10.0% of the net's time (held" in show(found)


def test_a_step_that_takes_too_much_is_said() -> None:
    """More than 15 %."""
    slow = load(90, tokenizer_s=0.2)
    found = report(TEXT, "openvino-bf16", [Turn(slow, slow, slow, own=100.0)] * 2, cores=2)
    assert "20.0% of the net's time (missed" in show(found)
    assert found.missed


def test_a_step_beside_a_tiny_net_is_not_judged() -> None:
    """Its share is said all the same."""
    quick = load(90, tokenizer_s=0.2)
    tiny = replace(quick, work={**quick.work, ENCODER.name: Work(100, 10, 0.1)})
    found = report(TEXT, "onnxruntime-fp32", [Turn(tiny, tiny, tiny, own=100.0)] * 2, cores=2)
    assert "200.0% of the net's 1.00 ms a row (not judged" in show(found)
    assert not found.missed


def test_items_of_the_optimum_length_are_taken() -> None:
    """Where there are any; else those of the most frequent one."""

    def given(width: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
        return {name: np.zeros((1, width), np.int64) for name in ("input_ids", "attention_mask")}

    rows = [{"text": np.array([[str(number)]], dtype=np.object_)} for number in range(4)]
    kept, steps = alike(rows, [given(width) for width in (16, 128, 16, 128)], ENCODER)
    assert [row["text"].item() for row in kept] == ["1", "3"]
    assert {step["input_ids"].shape for step in steps} == {(1, 128)}
    kept, _ = alike(rows, [given(width) for width in (16, 48, 16, 64)], replace(ENCODER))
    assert [row["text"].item() for row in kept] == ["0", "2"]
