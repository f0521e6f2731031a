"""Triton's data types as config.pbtxt names them, and the numpy types that carry them.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md#datatypes
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

BFLOAT16 = "TYPE_BF16"
STRING = "TYPE_STRING"

# numpy has no bfloat16: its 16 bits travel as uint16 and are never computed with.
NUMPY_TYPES: dict[str, DTypeLike] = {
    "TYPE_BOOL": np.bool_,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    BFLOAT16: np.uint16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    STRING: np.object_,
}
