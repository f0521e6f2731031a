"""Tensors made of the shapes of the requests in a batch, kind by kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard_server.backend_support.batch_io import batch_input, check_batch_io, scatter
from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.model_config import BatchInput, BatchOutput, ModelConfig

# Two requests: one item of 3 elements, two items of 2 elements.
SHAPES = [(1, 3), (2, 2)]
SCATTER = BatchOutput("BATCH_SCATTER_WITH_INPUT_SHAPE", ("y",), "x")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("BATCH_ELEMENT_COUNT", [3, 4]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT", [3, 7]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", [0, 3, 7]),
        ("BATCH_ITEM_SHAPE", [[3], [2], [2]]),
        ("BATCH_ITEM_SHAPE_FLATTEN", [3, 2, 2]),
    ],
)
@pytest.mark.parametrize(("data_type", "numpy_type"), [("TYPE_INT32", np.int32), ("TYPE_FP32", np.float32)])
def test_each_kind_holds_what_model_config_proto_says(
    kind: str, expected: list[Any], data_type: str, numpy_type: type
) -> None:
    """The values and the type of every kind, for requests of different size."""
    tensor = batch_input(BatchInput(kind, ("t",), data_type, "x"), SHAPES)
    assert tensor.tolist() == expected
    assert tensor.dtype == numpy_type


def test_the_largest_request_gives_a_shape() -> None:
    """BATCH_MAX_ELEMENT_COUNT_AS_SHAPE carries its number as the tensor's size."""
    entry = BatchInput("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", ("t",), "TYPE_FP32", "x")
    assert batch_input(entry, SHAPES).shape == (4,)


def test_item_shapes_of_higher_rank_keep_every_dimension() -> None:
    """One row an item, one column a dimension."""
    entry = BatchInput("BATCH_ITEM_SHAPE", ("t",), "TYPE_INT32", "x")
    assert batch_input(entry, [(1, 2, 3), (1, 4, 5)]).tolist() == [[2, 3], [4, 5]]


def test_a_flat_output_is_cut_up_by_the_inputs_shapes() -> None:
    """Dynamic dimensions come from the input, fixed ones stay."""
    first, second = scatter(SCATTER, (-1, -1), np.arange(7), SHAPES)
    assert first.tolist() == [[0, 1, 2]]
    assert second.tolist() == [[3, 4], [5, 6]]
    first, second = scatter(SCATTER, (-1, 2), np.arange(6), SHAPES)
    assert (first.tolist(), second.tolist()) == ([[0, 1]], [[2, 3], [4, 5]])


def test_an_output_that_is_too_short_is_an_error() -> None:
    """Nobody is handed less than the shape that is announced."""
    with pytest.raises(ExecutionError, match=r"output 'y' has 6 elements, but .* ask for 7"):
        scatter(SCATTER, (-1, -1), np.arange(6), SHAPES)


def test_a_batch_output_with_a_dimension_of_no_origin_is_refused() -> None:
    """A dynamic dimension of the output must stand where the input has one."""
    config = ModelConfig.from_dict(
        {
            "name": "m",
            "max_batch_size": 8,
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}],
            "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2, -1]}],
            "batch_output": [{"kind": SCATTER.kind, "target_name": ["y"], "source_input": ["x"]}],
        }
    )
    with pytest.raises(ModelLoadError, match="batch_output 'y' has a dynamic dimension"):
        check_batch_io(config)
