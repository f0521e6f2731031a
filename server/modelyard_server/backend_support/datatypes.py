"""Triton's data types as config.pbtxt names them.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md#datatypes
"""

from __future__ import annotations

BFLOAT16 = "TYPE_BF16"
STRING = "TYPE_STRING"

DATA_TYPES = (
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    BFLOAT16,
    "TYPE_FP32",
    "TYPE_FP64",
    STRING,
)
