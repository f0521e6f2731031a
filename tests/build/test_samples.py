"""Samples: golden ones in perf_analyzer's form, warmup ones in Triton's."""

from __future__ import annotations

import json

import numpy as np

from modelyard_build.repository.samples import golden_json, warmup_bytes


def test_golden_samples_are_perf_analyzers_input_data() -> None:
    """Content and shape for each tensor, expected outputs under validation_data, no batch dimension."""
    text = np.array([b"a r\xc3\xa9sum\xc3\xa9"], dtype=np.object_)
    document = json.loads(golden_json([{"text": text}], [{"score": np.array([0.123456789, 2.0], np.float32)}]))
    assert document == {
        "data": [{"text": {"content": ["a résumé"], "shape": [1]}}],
        "validation_data": [{"score": {"content": [0.1234568, 2.0], "shape": [2]}}],
    }


def test_warmup_strings_carry_their_length() -> None:
    """Triton reads a uint32 length before each string."""
    assert warmup_bytes(np.array([b"ab", b""], dtype=np.object_)) == b"\x02\0\0\0ab\0\0\0\0"


def test_warmup_numbers_are_row_major() -> None:
    """A transposed view is written in the order of its rows."""
    array = np.arange(6, dtype=np.int64).reshape(2, 3).T
    assert warmup_bytes(array) == np.array([0, 3, 1, 4, 2, 5], np.int64).tobytes()
