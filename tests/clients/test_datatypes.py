"""Arrays to Triton's bytes and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelyard_client import bfloat16_to_float32, float32_to_bfloat16
from modelyard_client.datatypes import NUMPY_DTYPES, decode, encode

FIXED = sorted(set(NUMPY_DTYPES) - {"BYTES"})
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.data(), st.sampled_from(FIXED), SHAPES)
def test_what_is_encoded_is_decoded(data: st.DataObject, datatype: str, shape: tuple[int, ...]) -> None:
    """Every datatype, rank and size, scalars and empty arrays too, bit for bit."""
    array: npt.NDArray[Any] = data.draw(hnp.arrays(NUMPY_DTYPES[datatype], shape))
    content = encode(array, datatype)
    assert content.nbytes == array.nbytes
    back = decode(content, datatype, shape)
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert back.tobytes() == array.tobytes()


@given(st.lists(st.lists(st.binary(max_size=20), min_size=2, max_size=2), max_size=5))
def test_bytes_are_encoded_and_decoded(rows: list[list[bytes]]) -> None:
    """Any bytes, trailing zeros, empty elements and no elements at all."""
    array = np.empty((len(rows), 2), dtype=np.object_)
    for index, row in enumerate(rows):
        array[index] = row
    assert decode(encode(array, "BYTES"), "BYTES", array.shape).tolist() == array.tolist()


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_bytes_travel_as_triton_writes_them(items: list[bytes]) -> None:
    """Each element: its length in 4 bytes, little-endian, then its content."""
    expected = b"".join(len(item).to_bytes(4, "little") + item for item in items)
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    assert encode(array, "BYTES").tobytes() == expected


@given(hnp.arrays(np.float64, SHAPES, elements=st.floats(width=64)))
def test_layout_of_the_caller_does_not_matter(array: npt.NDArray[np.float64]) -> None:
    """Transposed, big-endian and strided arrays are sent row-major and little-endian."""
    content = array.T.astype("<f8").tobytes()
    assert encode(array.T, "FP64").tobytes() == content
    assert encode(array.T.astype(">f8"), "FP64").tobytes() == content


def test_contiguous_arrays_are_not_copied() -> None:
    """A large tensor is sent from where it lies."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = encode(array, "FP32")
    array[0, 0] = 7
    assert decode(content, "FP32", (2, 3))[0, 0] == 7


@pytest.mark.parametrize(
    ("datatype", "content"),
    [("FP32", b"\0" * 12), ("FP32", b"\0" * 7), ("BYTES", b"\x05\0\0\0ab"), ("BYTES", b"\x01\0"), ("BYTES", b"")],
)
def test_content_of_another_size_is_refused(datatype: str, content: bytes) -> None:
    """What does not have the size of its shape [2, 2], or is cut off, is never read as something else."""
    with pytest.raises(ValueError, match=r"reshape|cut off|multiple"):
        decode(content, datatype, (2, 2))


@given(hnp.arrays(np.uint16, SHAPES))
def test_bfloat16_bits_survive_float32(bits: npt.NDArray[np.uint16]) -> None:
    """Any pattern in any shape; a NaN stays a NaN."""
    values = bfloat16_to_float32(bits)
    back = float32_to_bfloat16(values)
    assert values.shape == back.shape == bits.shape
    assert ((back == bits) | np.isnan(values)).all()
    np.testing.assert_array_equal(np.isnan(bfloat16_to_float32(back)), np.isnan(values))


def test_nan_with_only_low_bits_stays_a_nan() -> None:
    """Its upper half alone would be infinity."""
    signalling = np.array([0x7F800001, 0xFF80FFFF], np.uint32).view(np.float32)
    assert np.isnan(bfloat16_to_float32(float32_to_bfloat16(signalling))).all()


@given(st.floats(width=32))
def test_float32_rounds_to_the_nearest_bfloat16(value: float) -> None:
    """No other bfloat16 is nearer; of two that are as near, the even one; overflow goes to infinity."""
    array = np.array([value], np.float32)
    bits = float32_to_bfloat16(array)
    if np.isnan(value):
        assert np.isnan(bfloat16_to_float32(bits)[0])
        return
    got = float(bfloat16_to_float32(bits)[0])
    limit = float(bfloat16_to_float32(np.array([0x7F7F], np.uint16))[0])
    if np.isinf(got):
        assert abs(value) > limit
        return
    neighbours = bits + np.array([0xFFFF, 1], np.uint16)
    for bit, other in zip(neighbours, bfloat16_to_float32(neighbours), strict=True):
        if np.isfinite(other):
            distance, other_distance = abs(got - value), abs(float(other) - value)
            assert distance < other_distance or (distance == other_distance and bits[0] % 2 == 0 and bit % 2 == 1)
