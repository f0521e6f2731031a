"""Samples: golden ones in perf_analyzer's form, warmup ones in Triton's."""

from __future__ import annotations

import base64
import json

import numpy as np

from modelyard_build.repository.samples import MOST_BYTES, golden_json, warmup_bytes


def test_golden_samples_are_perf_analyzers_input_data() -> None:
    """Content and shape for each tensor, expected outputs under validation_data, no batch dimension."""
    text = np.array([b"a r\xc3\xa9sum\xc3\xa9"], dtype=np.object_)
    document = json.loads(golden_json([{"text": text}], [{"score": np.array([0.123456789, 2.0], np.float32)}]))
    assert document == {
        "data": [{"text": {"content": ["a résumé"], "shape": [1]}}],
        "validation_data": [{"score": {"content": [0.1234568, 2.0], "shape": [2]}}],
    }


def test_bytes_that_are_no_text_are_base64_of_the_raw_tensor() -> None:
    """An image's file as Triton takes it, behind its length, and its pixels: perf_analyzer reads both so."""
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    document = json.loads(golden_json([{"image": np.array([b"\xff\xd8"], dtype=np.object_)}], [{"pixels": pixels}]))
    (image,), (answer,) = document["data"], document["validation_data"]
    assert image["image"] == {"content": {"b64": base64.b64encode(b"\x02\0\0\0\xff\xd8").decode()}, "shape": [1]}
    assert answer["pixels"]["shape"] == [2, 2, 3]
    assert base64.b64decode(answer["pixels"]["content"]["b64"]) == bytes(range(12))


def test_of_large_samples_there_are_few() -> None:
    """The file stays small enough for git; one sample there is in any case, and each has its answer."""
    pixels = [{"pixels": np.full(MOST_BYTES // 4, number, np.uint8)} for number in range(8)]
    score = [{"score": np.array([number], np.float32)} for number in range(8)]
    written = golden_json(pixels, score)
    assert len(written) <= MOST_BYTES
    document = json.loads(written)
    assert len(document["data"]) == len(document["validation_data"]) == 2
    alone = golden_json([{"pixels": np.zeros(2 * MOST_BYTES, np.uint8)}] * 2, score[:2])
    assert len(json.loads(alone)["data"]) == 1


def test_warmup_strings_carry_their_length() -> None:
    """Triton reads a uint32 length before each string."""
    assert warmup_bytes(np.array([b"ab", b""], dtype=np.object_)) == b"\x02\0\0\0ab\0\0\0\0"


def test_warmup_numbers_are_row_major() -> None:
    """A transposed view is written in the order of its rows."""
    array = np.arange(6, dtype=np.int64).reshape(2, 3).T
    assert warmup_bytes(array) == np.array([0, 3, 1, 4, 2, 5], np.int64).tobytes()
