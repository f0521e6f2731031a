"""What the values at a site look like: seen at every size that real inputs have."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from modelyard_build.precision.ranges import observe
from modelyard_build.precision.sites import find


def convolution() -> onnx.ModelProto:
    """A 1-D convolution over 4 channels of any length."""
    weight = numpy_helper.from_array(np.ones((8, 4, 1), np.float32), "weight")
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weight"], ["y"], name="conv")],
        "convolution",
        [tensor("x", onnx.TensorProto.FLOAT, ["batch", 4, "length"])],
        [tensor("y", onnx.TensorProto.FLOAT, ["batch", 8, "length"])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_convolutions_of_several_sizes() -> None:
    """Ranges come from every size; what is kept to try on is of one size, the largest that was seen."""
    proto = convolution()
    sizes = (1, 30, 10)
    batches = [{"x": np.full((2, 4, size), size, np.float32)} for size in sizes]
    (seen,) = observe(proto, find(ir.from_proto(proto).graph), batches).values()
    assert seen.sample.shape == (1, 4, 30)
    assert seen.largest.tolist() == [30] * 4
    assert seen.elements == sum(2 * 4 * size for size in sizes)
