"""One input of a request: a value checked against what the model takes, and laid out for Triton."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelyard_client.datatypes import NUMPY_DTYPES, Array
from modelyard_client.errors import InvalidInput
from modelyard_client.metadata import ModelSignature, TensorSpec


def checked_array(signature: ModelSignature, spec: TensorSpec, value: Any) -> Array:
    """Returns the value as the array to send.

    Args:
        signature: The model that takes it.
        spec: The input.
        value: A numpy array of exactly the input's dtype; for BYTES also a (nested) list of `str` and `bytes`, where
            `str` is sent as UTF-8; for BF16 an array of uint16 holding the bits, or of a dtype named bfloat16.

    Raises:
        InvalidInput: The value is no array, or its dtype or shape is not the input's.
    """
    what = f"input '{spec.name}' of model '{signature.model}'"
    array = _bytes_array(what, value) if spec.datatype == "BYTES" else _numeric_array(what, spec.datatype, value)
    if spec.name not in signature.shape_tensors:
        check_shape(what, spec, array.shape, signature.max_batch_size)
    return array


def check_shape(what: str, spec: TensorSpec, shape: tuple[int, ...], max_batch_size: int) -> None:
    """Compares a shape with the one that the model's metadata gives.

    Raises:
        InvalidInput: The rank, a fixed dimension or the batch is another one.
    """
    rule = f"{what} has shape {list(shape)}, the model takes {describe_shape(spec, max_batch_size)}"
    if len(shape) != len(spec.shape):
        lacks_batch = max_batch_size > 0 and len(shape) + 1 == len(spec.shape)
        raise InvalidInput(rule + (": add the batch dimension with array[np.newaxis]." if lacks_batch else "."))
    if max_batch_size > 0 and not 1 <= shape[0] <= max_batch_size:
        raise InvalidInput(f"{rule}: a batch is 1 to {max_batch_size}, send larger ones in parts.")
    for axis, (got, expected) in enumerate(zip(shape, spec.shape, strict=True)):
        if expected not in (-1, got):
            raise InvalidInput(f"{rule}: dimension {axis} is {got} and must be {expected}.")


def describe_shape(spec: TensorSpec, max_batch_size: int) -> str:
    """The shape as a person reads it: `[batch 1-8, 4, any]`."""
    names = ["any" if size == -1 else str(size) for size in spec.shape]
    if max_batch_size > 0:
        names[0] = f"batch 1-{max_batch_size}"
    return f"[{', '.join(names)}]"


def _numeric_array(what: str, datatype: str, value: Any) -> Array:
    expected = NUMPY_DTYPES[datatype]
    if not isinstance(value, np.ndarray):
        raise InvalidInput(
            f"{what} is a {type(value).__name__}, the model takes a numpy array of {datatype}: "
            f"np.asarray(value, dtype=np.{expected.name})."
        )
    if datatype == "BF16" and value.dtype.name == "bfloat16":
        return value.view(np.uint16)
    if value.dtype.newbyteorder("=") == expected:
        return value
    raise InvalidInput(
        f"{what} is {value.dtype.name}, the model takes {datatype}: convert it with {_conversion(datatype)}."
    )


def _conversion(datatype: str) -> str:
    if datatype == "BF16":
        return "modelyard_client.float32_to_bfloat16(array), which gives the bits as uint16"
    return f"array.astype(np.{NUMPY_DTYPES[datatype].name})"


def _bytes_array(what: str, value: Any) -> Array:
    is_array = isinstance(value, np.ndarray)
    if (not is_array and not isinstance(value, list | tuple)) or (is_array and value.dtype.kind not in "OSU"):
        came = value.dtype.name if is_array else f"a {type(value).__name__}"
        raise InvalidInput(f"{what} is {came}, the model takes BYTES: pass a list or an array of str or bytes.")
    try:
        array = np.asarray(value, dtype=np.object_)
    except ValueError:
        raise InvalidInput(f"{what} has nested lists of different lengths; make them equal.") from None
    encoded = np.empty(array.shape, dtype=np.object_)
    for index in np.ndindex(array.shape):
        encoded[index] = _encoded(what, index, array[index])
    return encoded


def _encoded(what: str, index: tuple[int, ...], item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    position = "".join(f"[{i}]" for i in index)
    if not isinstance(item, str):
        raise InvalidInput(
            f"{what} has a {type(item).__name__} at {position}, the model takes BYTES: pass str or bytes, "
            "and nested lists of equal lengths."
        )
    try:
        return item.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{what} cannot be written as UTF-8 at {position}: character {error.start} is a lone surrogate. "
            "Decode the text with the right encoding, or pass bytes."
        ) from None
