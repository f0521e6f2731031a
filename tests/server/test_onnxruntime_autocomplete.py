"""What is completed where config.pbtxt leaves inputs or outputs out."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard_server.backend_support.autocomplete import Completion, complete, needs_completion
from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import ArtefactTensor, Signature

X = {"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}
Y = {"name": "y", "data_type": "TYPE_INT64", "dims": [2]}
DYNAMIC = Signature(
    "1/model.onnx", {"x": ArtefactTensor("TYPE_FP32", (-1, -1))}, {"y": ArtefactTensor("TYPE_INT64", (-1, 2))}
)
FIXED = Signature("1/model.onnx", {"x": ArtefactTensor("TYPE_FP32", (1, 3))}, {"y": ArtefactTensor("TYPE_INT64", ())})


def config(**fields: Any) -> ModelConfig:
    """A configuration with these fields only."""
    return ModelConfig.from_dict({"name": "m", **fields})


def test_with_inputs_and_outputs_listed_nothing_is_completed() -> None:
    """As in the container: one side listed is not enough, both are, and batch_input counts as inputs."""
    entry = {"kind": "BATCH_ELEMENT_COUNT", "target_name": ["x"], "data_type": "TYPE_INT32", "source_input": ["x"]}
    assert not needs_completion(config(input=[X], output=[Y]))
    assert not needs_completion(config(batch_input=[entry], output=[Y]))
    assert needs_completion(config(input=[X]))
    assert needs_completion(config(output=[Y]))
    assert needs_completion(config())


def test_all_first_dimensions_dynamic_turns_batching_on() -> None:
    """max_batch_size 0 becomes 4, dynamic batching is turned on, and dims are without the batch."""
    assert complete(config(), DYNAMIC) == Completion(4, True, (X,), (Y,))


def test_a_max_batch_size_that_is_set_stays() -> None:
    """Only 0 is replaced; with 1 there is nothing to batch."""
    assert complete(config(max_batch_size=16), DYNAMIC).max_batch_size == 16
    assert complete(config(max_batch_size=1), DYNAMIC) == Completion(1, False, (X,), (Y,))


@pytest.mark.parametrize("scheduler", ["dynamic_batching", "sequence_batching"])
def test_a_scheduler_that_is_named_stays(scheduler: str) -> None:
    """Dynamic batching is turned on only where no scheduler is named."""
    assert not complete(config(**{scheduler: {}}), DYNAMIC).dynamic_batching


def test_a_side_that_is_listed_stays() -> None:
    """Inputs of config.pbtxt are not doubled when only the outputs are missing."""
    completion = complete(config(max_batch_size=8, input=[X]), DYNAMIC)
    assert completion.inputs == ()
    assert completion.outputs == (Y,)


def test_a_fixed_first_dimension_is_not_batched() -> None:
    """The whole shape becomes dims, and a scalar is written as [1]."""
    assert complete(config(), FIXED) == Completion(
        0,
        False,
        ({"name": "x", "data_type": "TYPE_FP32", "dims": [1, 3]},),
        ({"name": "y", "data_type": "TYPE_INT64", "dims": [1]},),
    )


def test_a_fixed_first_dimension_contradicts_a_max_batch_size() -> None:
    """The message names the tensor and its shape."""
    with pytest.raises(ModelLoadError, match=r"max_batch_size is 8, but 'x' has shape \[1,3\]"):
        complete(config(max_batch_size=8), FIXED)


def test_a_tensor_that_is_the_batch_alone_gets_a_reshape() -> None:
    """Triton allows no empty dims."""
    batch = Signature("1/model.onnx", {"x": ArtefactTensor("TYPE_FP32", (-1,))}, {})
    assert complete(config(), batch).inputs == (
        {"name": "x", "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}},
    )
