"""An ONNX graph looked at for its declaration: as a module that runs, and which values its inputs may take."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from modelyard_build import graph_files
from modelyard_build.adoption.origin import Draw
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Array, Arrays
from modelyard_build.nets.onnx_types import nodes_of

# What hands indices on as they are.
_HANDED_ON = frozenset(("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten"))
# Whole numbers of which nothing is known: flags, and indices into anything, take these.
_SMALL = Draw(0, 2)
_FATAL = 4
_OLDEST_OPSET = 7


class GraphModule(nn.Module):
    """A graph in ONNX Runtime, node by node: quicker than the reference, to find out what the graph takes."""

    def __init__(self, proto: onnx.ModelProto, alone: bool = False) -> None:
        """Loads the graph.

        Args:
            proto: the graph.
            alone: it has no batch; each item is run without the first dimension.

        Raises:
            AdoptionFailed: ONNX Runtime does not load it.
        """
        super().__init__()
        self._session = _session(proto)
        self._names = [output.name for output in self._session.get_outputs()]
        self._alone = alone

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every output by its name, items along the first dimension."""
        arrays = {name: value.numpy() for name, value in inputs.items()}
        if not self._alone:
            return self._named(self._session.run(None, arrays))
        count = len(next(iter(arrays.values())))
        answers = [self._session.run(None, {name: array[at] for name, array in arrays.items()}) for at in range(count)]
        return self._named([np.stack(values) for values in zip(*answers, strict=True)])

    def _named(self, answers: Sequence[Array]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(answer) for name, answer in zip(self._names, answers, strict=True)}


def _session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # What fails is raised; sizes that fail are tried on purpose.
    options.log_severity_level = _FATAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory(prefix="modelyard-new-") as folder:
        path = Path(folder, "model.onnx")
        try:
            graph_files.save(proto, path)
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's exceptions have no common base of their own.
            raise AdoptionFailed(_not_loaded(proto, error)) from error


def _not_loaded(proto: onnx.ModelProto, error: Exception) -> str:
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    said = f"ONNX Runtime {onnxruntime.__version__} does not load the graph: {' '.join(str(error).split())[:300]}."
    if opset < _OLDEST_OPSET:
        return (
            f"{said} It has opset {opset}, and runtimes begin at {_OLDEST_OPSET}: convert it with "
            "onnx.version_converter.convert_version(model, 17), and give the file that it makes."
        )
    return f"{said} Export the model again with operators and types that it has."


def draws_of(proto: onnx.ModelProto, names: Iterable[str]) -> dict[str, Draw]:
    """Which values the whole-number inputs take: masks by their name, indices by the table that they look up in."""
    tables = _tables(proto)
    return {name: Draw(ones=True) if "mask" in name.lower() else tables.get(name, _SMALL) for name in names}


def _tables(proto: onnx.ModelProto) -> dict[str, Draw]:
    """The rows of the smallest table that an input's values look up in, by the input's name."""
    rows = {tensor.name: tensor.dims[0] for tensor in proto.graph.initializer if tensor.dims}
    came_from = {value.name: value.name for value in proto.graph.input}
    found: dict[str, int] = {}
    for node in nodes_of(proto):
        source = came_from.get(node.input[0]) if node.input else None
        if node.op_type in _HANDED_ON and source:
            came_from[node.output[0]] = source
        if node.op_type == "Gather" and node.input[0] in rows and not _attribute(node, "axis"):
            looked_up = came_from.get(node.input[1])
            if looked_up:
                found[looked_up] = min(rows[node.input[0]], found.get(looked_up, rows[node.input[0]]))
    return {name: Draw(0, count) for name, count in found.items()}


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def example_of(
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, np.dtype[Any]],
    draws: Mapping[str, Draw],
    items: int,
    positive: bool = False,
) -> Arrays:
    """Drawn inputs.

    Args:
        shapes: of an item of each input.
        dtypes: of each input.
        draws: which values those of whole numbers take.
        items: how many.
        positive: numbers between 0 and 1, instead of around 0.
    """
    generator = np.random.default_rng(0)
    found = {}
    for name, shape in shapes.items():
        draw, dtype = draws.get(name, _SMALL), dtypes[name]
        if dtype.kind == "f":
            drawn = generator.random((items, *shape)) if positive else generator.normal(size=(items, *shape))
            found[name] = drawn.astype(dtype)
        elif draw.ones:
            found[name] = np.ones((items, *shape), dtype)
        else:
            found[name] = generator.integers(draw.low, draw.high, size=(items, *shape)).astype(dtype)
    return found
