"""Real inputs for perf_analyzer: a model's golden samples, or a file in perf_analyzer's own --input-data format.

The format: {"data": [{"<input>": {"content": [...], "shape": [...]}, ...}, ...]}; see "Input Data" in perf_analyzer's
documentation. `validation_data` beside it is left out: perf_analyzer compares outputs byte for byte and stops at the
first difference, and a float computed in a batch differs in its last bits from the same float computed alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard_ops.errors import OpsError

# One request's inputs: name -> {"content": [...], "shape": [...]}, a plain list, or {"b64": "..."}.
Sample = Mapping[str, Any]

FORMAT = '{"data": [{"<input>": {"content": [...], "shape": [...]}}]}'


def golden_samples(repository: Path, model: str) -> list[Sample]:
    """The golden samples of a model of a repository.

    Raises:
        OpsError: the model has none, or their file cannot be read.
    """
    path = repository / model / "golden" / "samples.json"
    if not path.is_file():
        raise OpsError(
            f"model {model!r} has no golden samples at {path}, and random inputs would measure another thing. "
            f"Give real ones with --input-data FILE, in perf_analyzer's format: {FORMAT}"
        )
    return load_samples(path)


def load_samples(path: Path) -> list[Sample]:
    """Reads a file in perf_analyzer's --input-data format.

    Raises:
        OpsError: it cannot be read, is no JSON, or holds no samples.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OpsError(f"the input data {path} cannot be read as JSON: {error}.") from None
    samples = document.get("data") if isinstance(document, dict) else None
    if not isinstance(samples, list) or not samples:
        raise OpsError(f"the input data {path} holds no samples; expected {FORMAT}.")
    if not all(isinstance(sample, dict) and sample for sample in samples):
        raise OpsError(f"the input data {path} holds a sample that is not an object of inputs; expected {FORMAT}.")
    return samples


def check_names(samples: Sequence[Sample], inputs: Sequence[str]) -> None:
    """Holds every sample against the model's input names.

    Raises:
        OpsError: a sample lacks an input, or has one that the model does not know.
    """
    expected = sorted(inputs)
    for index, sample in enumerate(samples):
        if sorted(sample) != expected:
            raise OpsError(
                f"sample {index} of the input data has the inputs {sorted(sample)}; the model takes {expected}."
            )


def batchable(samples: Sequence[Sample], batch_size: int) -> list[Sample]:
    """The samples that perf_analyzer can send in batches: all of them, or the most frequent shape's.

    It forms a batch of consecutive samples, starting at every one of them, and refuses different shapes in a batch
    (GetInputData in infer_data_manager_base.cc). So with a batch size above 1 one shape alone can be measured.
    """
    if batch_size == 1:
        return list(samples)
    shapes = [_shapes(sample) for sample in samples]
    most_frequent = max(shapes, key=shapes.count)
    return [sample for sample, shape in zip(samples, shapes, strict=True) if shape == most_frequent]


def _shapes(sample: Sample) -> str:
    """A key that is equal for samples whose tensors have equal shapes."""
    return json.dumps({name: _shape(tensor) for name, tensor in sample.items()}, sort_keys=True)


def _shape(tensor: Any) -> Any:
    if isinstance(tensor, dict):
        return tensor.get("shape") or _shape(tensor.get("content"))
    return [len(tensor)] if isinstance(tensor, list) else None


def document(samples: Sequence[Sample]) -> str:
    """The text of an --input-data file."""
    return json.dumps({"data": list(samples)})
