"""bfloat16 tensors in and out of Triton's Python API, which has no numpy type for them but speaks DLPack.

The structures are those of https://github.com/dmlc/dlpack, ``include/dlpack/dlpack.h``, before version 1. No data is
copied: both ways the memory is shared.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint16]

_CAPSULE_NAME = b"dltensor"
_CPU = 1
_BFLOAT = 4


class _Device(ctypes.Structure):
    _fields_: ClassVar[Any] = [("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_: ClassVar[Any] = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _ManagedTensor(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("dl_tensor", _Tensor),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    ]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]

# Whoever consumed a capsule reads this memory until it calls the deleter.
_shared: dict[int, tuple[Any, ...]] = {}


def _forget(address: int) -> None:
    _shared.pop(address, None)


_delete = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_forget)


def words_from_dlpack(capsule: object) -> Words:
    """The 16-bit words of a tensor in CPU memory, as a view that keeps the capsule, and with it the tensor, alive.

    Args:
        capsule: From `Tensor.to_dlpack()`.
    """
    tensor = _ManagedTensor.from_address(_capsule_pointer(capsule, _CAPSULE_NAME)).dl_tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    return words_at((tensor.data or 0) + tensor.byte_offset, shape, owner=capsule)


def words_at(address: int, shape: tuple[int, ...], owner: object) -> Words:
    """The 16-bit words at an address, as a view.

    Args:
        address: Of the first word.
        shape: Of the tensor; contiguous.
        owner: Holds the memory; kept alive by the view.
    """
    count = math.prod(shape)
    if not count:
        return np.empty(shape, dtype=np.uint16)
    buffer = (ctypes.c_uint16 * count).from_address(address)
    buffer.owner = owner  # type: ignore[attr-defined]  # arrays of ctypes take attributes; numpy keeps the array
    words: Words = np.ctypeslib.as_array(buffer).reshape(shape)
    return words


def bfloat16_to_dlpack(words: Words) -> object:
    """A capsule that hands the words over as bfloat16.

    It must be consumed, by `Tensor.from_dlpack()`: the memory is held until the consumer lets go of it.

    Args:
        words: uint16 of any shape, contiguous.
    """
    shape = (ctypes.c_int64 * words.ndim)(*words.shape)
    managed = _ManagedTensor(
        _Tensor(words.ctypes.data, _Device(_CPU, 0), words.ndim, _DataType(_BFLOAT, 16, 1), shape, None, 0),
        None,
        _delete,
    )
    address = ctypes.addressof(managed)
    _shared[address] = (managed, words, shape)
    return _new_capsule(address, _CAPSULE_NAME, None)
