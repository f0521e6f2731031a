"""Triton's datatypes as numpy arrays and as bytes.

Every datatype maps to the numpy dtype of the same name. Two have none:

- BYTES is an object array of `bytes`: each element travels as its length (4 bytes, little-endian) and its content
  (KServe v2, "Tensor data", binary representation of BYTES).
- BF16 is an array of uint16 that holds the bits: a bfloat16 is the upper half of a float32.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(np.uint16),
    "BYTES": np.dtype(np.object_),
}


def encode(array: Array, datatype: str) -> memoryview:
    """Lays an array out as Triton reads it: row-major and little-endian.

    Args:
        array: Of `NUMPY_DTYPES[datatype]`; for BYTES, every element is `bytes`.
        datatype: Triton's name, as in the model's metadata.

    Returns:
        The raw content; a view of the array's own memory where it already lies so.
    """
    if datatype == "BYTES":
        return memoryview(b"".join(struct.pack("<I", len(item)) + item for item in array.ravel()))
    contiguous = np.ascontiguousarray(array, dtype=NUMPY_DTYPES[datatype].newbyteorder("<"))
    return contiguous.reshape(-1).view(np.uint8).data


def decode(data: bytes | memoryview, datatype: str, shape: tuple[int, ...]) -> Array:
    """Reads an array out of Triton's raw content.

    Returns:
        A read-only view of `data`, or for BYTES an object array of `bytes`.

    Raises:
        ValueError: The content does not have the size that the shape asks for.
    """
    if datatype == "BYTES":
        return _decode_bytes(memoryview(data), shape)
    array = np.frombuffer(data, dtype=NUMPY_DTYPES[datatype].newbyteorder("<")).reshape(shape)
    array.flags.writeable = False
    return array


def _decode_bytes(data: memoryview, shape: tuple[int, ...]) -> Array:
    items: list[bytes] = []
    start = 0
    while start < len(data):
        if start + 4 > len(data):
            raise ValueError("an element's length is cut off")
        (size,) = struct.unpack_from("<I", data, start)
        items.append(bytes(data[start + 4 : start + 4 + size]))
        start += 4 + size
    if start != len(data):
        raise ValueError("the last element is cut off")
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    return array.reshape(shape)


def float32_to_bfloat16(array: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The bits of the nearest bfloat16, ties to even as IEEE 754 rounds; a NaN stays a NaN."""
    # Flat, because numpy 1 computes with arrays of no dimension in wider types.
    bits = np.asarray(array, dtype=np.float32).reshape(-1).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    # Rounding up could carry a NaN's mantissa into infinity: keep its upper half, made quiet.
    return np.where(is_nan, (bits >> 16) | 0x40, rounded).astype(np.uint16).reshape(np.shape(array))


def bfloat16_to_float32(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """The float32 of the same value; exact."""
    upper = np.asarray(bits, dtype=np.uint16).reshape(-1).astype(np.uint32)
    return (upper << 16).view(np.float32).reshape(np.shape(bits))
