"""A small text system for tests: an ensemble `texter` of two Python models, with golden samples.

Input `text` BYTES [1]; outputs `embedding` FP32 [4] and `length` INT32 [1], computed by hand in `answer`. A text with
the word "refuse" is answered with an error, one with the word "nan" with a NaN.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

ENSEMBLE, TOKENIZER, ENCODER = "texter", "texter_tokenizer", "texter_encoder"
MAX_BATCH_SIZE = 8

_TOKENIZER_CONFIG = """
    backend: "python"
    max_batch_size: 8
    input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
    output [
      { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] },
      { name: "length" data_type: TYPE_INT32 dims: [ 1 ] }
    ]
    dynamic_batching { }
"""
_TOKENIZER_MODEL = """
    import numpy as np
    import triton_python_backend_utils as pb_utils


    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(request) for request in requests]

        def answer(self, request):
            texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()[:, 0]
            if any(b"refuse" in text for text in texts):
                return pb_utils.InferenceResponse(error=pb_utils.TritonError("this text is refused"))
            width = max(len(text) for text in texts)
            ids = np.stack([np.frombuffer(text.ljust(width, b"\\0"), np.uint8).astype(np.int64) for text in texts])
            if any(b"nan" in text for text in texts):
                ids[:] = -1
            lengths = np.array([[len(text)] for text in texts], np.int32)
            return pb_utils.InferenceResponse([pb_utils.Tensor("ids", ids), pb_utils.Tensor("length", lengths)])
"""
_ENCODER_CONFIG = """
    backend: "python"
    max_batch_size: 8
    input [ { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] } ]
    output [ { name: "embedding" data_type: TYPE_FP32 dims: [ 4 ] } ]
    dynamic_batching { }
"""
_ENCODER_MODEL = """
    import numpy as np
    import triton_python_backend_utils as pb_utils


    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(request) for request in requests]

        def answer(self, request):
            ids = pb_utils.get_input_tensor_by_name(request, "ids").as_numpy()
            values = np.stack([ids.sum(1), ids.max(1), ids[:, 0], ids[:, 0] / 3], axis=1).astype(np.float32)
            values[(ids < 0).any(axis=1)] = np.nan
            return pb_utils.InferenceResponse([pb_utils.Tensor("embedding", values)])
"""
_ENSEMBLE_CONFIG = """
    platform: "ensemble"
    max_batch_size: 8
    input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
    output [
      { name: "embedding" data_type: TYPE_FP32 dims: [ 4 ] },
      { name: "length" data_type: TYPE_INT32 dims: [ 1 ] }
    ]
    ensemble_scheduling {
      step [
        {
          model_name: "texter_tokenizer"
          model_version: -1
          input_map { key: "text" value: "text" }
          output_map { key: "ids" value: "ids" }
          output_map { key: "length" value: "length" }
        },
        {
          model_name: "texter_encoder"
          model_version: -1
          input_map { key: "ids" value: "ids" }
          output_map { key: "embedding" value: "embedding" }
        }
      ]
    }
"""


def write_text_system(repository: Path) -> Path:
    """Writes the three models and the golden samples of the ensemble and of its encoder; returns the repository."""
    _write_model(repository, TOKENIZER, _TOKENIZER_CONFIG, _TOKENIZER_MODEL)
    _write_model(repository, ENCODER, _ENCODER_CONFIG, _ENCODER_MODEL)
    _write_model(repository, ENSEMBLE, _ENSEMBLE_CONFIG, None)
    write_golden(repository, ENSEMBLE, text_samples(["hello", "a longer text", 'quotes " and é']))
    write_golden(repository, ENCODER, {"data": [ids([1, 2, 3]), ids([4, 5]), ids([6, 7, 8])]})
    return repository


def _write_model(repository: Path, name: str, config: str, model: str | None) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(dedent(config), encoding="utf-8")
    if model is not None:
        (version / "model.py").write_text(dedent(model), encoding="utf-8")


def write_golden(repository: Path, model: str, document: Any) -> None:
    """Writes a model's golden samples."""
    path = repository / model / "golden" / "samples.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def text_samples(texts: Sequence[str]) -> dict[str, Any]:
    """Golden samples of the ensemble, with the right answers."""
    return {
        "data": [{"text": {"content": [text], "shape": [1]}} for text in texts],
        "validation_data": [answer(text) for text in texts],
    }


def answer(text: str) -> dict[str, Any]:
    """What the ensemble answers to a text."""
    codes = text.encode()
    embedding = [float(sum(codes)), float(max(codes)), float(codes[0]), codes[0] / 3]
    return {
        "embedding": {"content": embedding, "shape": [4]},
        "length": {"content": [len(codes)], "shape": [1]},
    }


def ids(values: Sequence[int]) -> dict[str, Any]:
    """A sample of the encoder."""
    return {"ids": {"content": list(values), "shape": [len(values)]}}
