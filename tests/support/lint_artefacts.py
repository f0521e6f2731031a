"""Recipes of the linter's examples that take a framework: artefacts as it writes them, whole or spoilt.

torch and openvino are imported where they are needed: most examples need neither.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from support import onnx_models


def onnx_model(path: Path, argument: str) -> None:
    """One of `onnx_models`, by the name of its function."""
    onnx.save(getattr(onnx_models, argument)(), path)


def onnx_operator(path: Path, argument: str) -> None:
    """`DOMAIN OPERATOR`: x FP32 [-1,4] through one operator to y of the same shape."""
    domain, operator = argument.split()
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    shape: tuple[str, int] = ("batch", 4)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], domain=domain)],
        "operator",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def onnx_sequence(path: Path, argument: str) -> None:
    """Input x FP32 [-1,4] -> y as it is, and a list of tensors, as classifiers of scikit-learn give."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("SequenceConstruct", ["x", "x"], ["list"])],
        "sequence",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4]),
            helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, ["batch", 4]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def onnx_external(path: Path, argument: str) -> None:
    """Input x FP32 [-1,3] @ weights -> y [-1,2], the weights in the file that the argument names."""
    import numpy as np

    built = onnx_models.matmul(np.ones((3, 2)))
    weights = built.graph.initializer[0]
    target = path.parent / argument
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", argument), ("offset", "0"), ("length", str(target.stat().st_size))):
        weights.external_data.add(key=key, value=value)
    path.write_bytes(built.SerializeToString())


def torchscript(path: Path, argument: str) -> None:
    """A class of `torch_models`, as TorchScript."""
    from support import torch_models

    torch_models.save_script(getattr(torch_models, argument)(), path)


def torch_saved(path: Path, argument: str) -> None:
    """The state of a class of `torch_models`, as torch.save writes it."""
    import torch

    from support import torch_models

    torch.save(getattr(torch_models, argument)().state_dict(), path)


def exported_program(path: Path, argument: str) -> None:
    """A class of `torch_models` of two inputs, as torch.export.save writes it: not compiled."""
    import torch

    from support import torch_models

    inputs = (torch.zeros(2, 4), torch.zeros(2, 4))
    torch.export.save(torch.export.export(getattr(torch_models, argument)(), inputs), path)


def compiled_program(path: Path, argument: str) -> None:
    """A class of `torch_models` of two inputs, compiled by AOTInductor."""
    path.write_bytes(_compiled(argument))


@cache
def _compiled(argument: str) -> bytes:
    """Once for all tests: it takes seconds."""
    import torch

    from support import torch_models

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pt2")
        torch_models.save_archive(getattr(torch_models, argument)(), path, torch.zeros(2, 4), torch.zeros(2, 4))
        return path.read_bytes()


def openvino(path: Path, argument: str) -> None:
    """`x FP32 [-1,4] -> y`: y is x plus one, with a .bin beside."""
    import numpy as np
    import openvino as ov
    from openvino import opset13 as ops

    from support import openvino_models

    name, _, sizes, _, output = argument.split()
    x = openvino_models.parameter([int(size) for size in sizes.strip("[]").split(",")], name=name)
    y = openvino_models.named(ops.add(x, ops.constant(np.ones((1, 4), dtype=np.float32))), output)
    ov.save_model(ov.Model([y], [x]), path, compress_to_fp16=False)


RECIPES: dict[str, Callable[[Path, str], None]] = {
    "onnx-model": onnx_model,
    "onnx-operator": onnx_operator,
    "onnx-sequence": onnx_sequence,
    "onnx-external": onnx_external,
    "torchscript": torchscript,
    "torch-saved": torch_saved,
    "exported-program": exported_program,
    "compiled-program": compiled_program,
    "openvino": openvino,
}
