"""The 8-bit number formats: how a value becomes one, and what it is worth after that."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from modelyard_build.precision.sites import Floats


@dataclass(frozen=True)
class Format:
    """Symmetric quantisation: zero stays zero, which is what TensorRT takes.

    Attributes:
        name: the precision.
        dtype: the ONNX type that is stored.
        storage: the same for numpy.
        smallest: the smallest stored value that is used.
        largest: the largest stored value that is used.
        alphas: how strongly outliers may be moved from activations to weights; the best is taken. Only equal steps
            suffer from outliers: floating-point numbers bring their own scale, so fp8 moves none.
        min_opset: the first ONNX opset that knows the type.
    """

    name: str
    dtype: ir.DataType
    storage: npt.DTypeLike
    smallest: float
    largest: float
    alphas: tuple[float, ...]
    min_opset: int

    def store(self, values: Floats, scale: Floats) -> npt.NDArray[np.generic]:
        """The stored numbers nearest to `values / scale`; those beyond the range become its end."""
        steps = np.clip(values / scale, self.smallest, self.largest)
        rounded = np.rint(steps) if np.issubdtype(self.storage, np.integer) else steps
        return rounded.astype(self.storage)

    def rounded(self, values: Floats, scale: Floats) -> Floats:
        """What `values` are worth after storing."""
        return self.store(values, scale).astype(np.float32) * scale


# -128 is left out, so that a number and its negative are stored alike.
INT8 = Format("int8", ir.DataType.INT8, np.int8, -127.0, 127.0, (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0), 13)
# For activations that are never negative, as behind a ReLU: int8 would leave half of its steps unused.
UINT8 = Format("uint8", ir.DataType.UINT8, np.uint8, 0.0, 255.0, (), 13)
FP8 = Format("fp8", ir.DataType.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn, -448.0, 448.0, (), 19)
