"""One input against the model's metadata: what is taken, and what the refusal says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard_client.errors import InvalidInput
from modelyard_client.metadata import ModelSignature, TensorSpec
from modelyard_client.tensors import checked_array


def signature(datatype: str, shape: tuple[int, ...], max_batch_size: int = 0, **more: Any) -> ModelSignature:
    """A model `m` with one input `x`."""
    return ModelSignature("m", {"x": TensorSpec("x", datatype, shape)}, {}, max_batch_size, **more)


def check(model: ModelSignature, value: Any) -> np.ndarray[Any, Any]:
    """The array to send."""
    return checked_array(model, model.inputs["x"], value)


@pytest.mark.parametrize("shape", [(1, 4, 9), (8, 4, 0)])
def test_free_dimensions_take_any_size(shape: tuple[int, ...]) -> None:
    """-1 is any size, zero too; the batch is 1 to the maximum."""
    assert check(signature("FP32", (-1, 4, -1), 8), np.zeros(shape, np.float32)).shape == shape


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((4,), r"has shape \[4\], the model takes \[batch 1-8, 4\]: add the batch dimension with array\[np.newaxis\]"),
        ((2, 3, 4), r"has shape \[2, 3, 4\], the model takes \[batch 1-8, 4\]\."),
        ((2, 5), r"dimension 1 is 5 and must be 4"),
        ((9, 4), r"a batch is 1 to 8, send larger ones in parts"),
        ((0, 4), r"has shape \[0, 4\].* a batch is 1 to 8"),
    ],
)
def test_wrong_shapes_say_what_is_expected(shape: tuple[int, ...], sentence: str) -> None:
    """What came, what the model takes, and the next step."""
    with pytest.raises(InvalidInput, match=rf"^input 'x' of model 'm' .*{sentence}"):
        check(signature("FP32", (-1, 4), 8), np.zeros(shape, np.float32))


def test_without_batching_the_first_dimension_is_like_any_other() -> None:
    """max_batch_size 0: the shape is the whole shape."""
    with pytest.raises(InvalidInput, match=r"takes \[3, any\]: dimension 0 is 4 and must be 3"):
        check(signature("FP32", (3, -1)), np.zeros((4, 1), np.float32))


def test_shape_tensors_follow_rules_of_their_own() -> None:
    """TensorRT's shape tensors are left to the server."""
    model = signature("INT32", (-1, 2), 8, shape_tensors=frozenset({"x"}))
    assert check(model, np.array([3, 4], np.int32)).shape == (2,)


@pytest.mark.parametrize(
    ("datatype", "value", "sentence"),
    [
        ("INT64", np.zeros(3, np.int32), r"is int32, the model takes INT64: convert it with array.astype\(np.int64\)"),
        ("FP32", np.zeros(3), r"is float64, the model takes FP32: convert it with array.astype\(np.float32\)"),
        ("BF16", np.zeros(3, np.float32), r"is float32, the model takes BF16: .*float32_to_bfloat16\(array\)"),
        ("FP32", np.array(["a"], object), r"is object, the model takes FP32"),
        (
            "FP32",
            [1.0, 2.0],
            r"is a list, the model takes .* FP32: np.asarray\(value, dtype=np.float32\)",
        ),
        ("FP32", None, r"is a NoneType"),
        ("BYTES", "text", r"is a str, the model takes BYTES: pass a list"),
        ("BYTES", np.zeros(3), r"is float64, the model takes BYTES"),
        ("BYTES", ["a", None], r"has a NoneType at \[1\]"),
        ("BYTES", [["a"], ["b", "c"]], r"has a list at \[0\]"),
        ("BYTES", ["ok", "\udc80"], r"cannot be written as UTF-8 at \[1\]: character 0 is a lone surrogate"),
        ("BYTES", [np.zeros((2, 3)), np.zeros((2, 4))], r"nested lists of different lengths"),
    ],
)
def test_wrong_types_say_how_to_convert(datatype: str, value: Any, sentence: str) -> None:
    """Nothing is converted silently."""
    with pytest.raises(InvalidInput, match=sentence):
        check(signature(datatype, (-1,)), value)


@pytest.mark.parametrize(
    "value",
    [["a", b"\xff"], ("a", b"\xff"), np.array(["a", b"\xff"], object)],
)
def test_texts_come_as_lists_and_arrays(value: Any) -> None:
    """`str` goes as UTF-8, `bytes` as they are."""
    assert check(signature("BYTES", (-1,)), value).tolist() == [b"a", b"\xff"]


@pytest.mark.parametrize("dtype", ["U3", "S3"])
def test_numpys_own_strings_are_taken(dtype: str) -> None:
    """Arrays of fixed-width strings are strings."""
    assert check(signature("BYTES", (-1, 1)), np.array([["abc"], ["d"]], dtype)).tolist() == [[b"abc"], [b"d"]]


def test_big_endian_is_the_same_dtype() -> None:
    """The byte order is no other dtype; encoding takes care of it."""
    assert check(signature("FP32", (-1,)), np.array([1.5], ">f4"))[0] == 1.5


def test_arrays_named_bfloat16_are_taken_as_bits() -> None:
    """ml_dtypes is not needed, and not refused."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert check(signature("BF16", (-1,)), np.array([1.0], ml_dtypes.bfloat16)).tolist() == [0x3F80]
