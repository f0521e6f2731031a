"""Graphs beyond what protobuf holds: weights beside the graph, checked, loaded and verified like any other."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
import torch
from torch import Tensor, nn

from modelyard_build import graph_files
from modelyard_build import model as declare
from modelyard_build.errors import VerificationFailed
from modelyard_build.export import export
from modelyard_build.model import Arrays
from modelyard_build.repository import manifest
from modelyard_build.targets import onnxruntime as target
from modelyard_build.verify import verify
from support.small_encoder import ENCODER, load

GIB = 2**30


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf's limit, moved down to a few kilobytes."""
    monkeypatch.setattr(graph_files, "SINGLE_FILE_BYTES", 4096)


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return export(ENCODER, load({}), {})


@pytest.mark.usefixtures("small_files")
def test_weights_stand_beside_a_large_graph(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """Two files in one folder, both in a manifest's list; the constants that decide shapes stay in the graph."""
    path = target.write(graph, tmp_path)
    assert set(manifest.describe_files(tmp_path)) == {"model.onnx", "model.onnx.data"}
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    outside = [tensor.name for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL]
    assert "bert.embeddings.word_embeddings.weight" in outside
    assert all(np.prod(tensor.dims) * 4 > 1024 for tensor in tensors if tensor.name in outside)
    assert path.stat().st_size < 100_000
    loaded = {tensor.name: tensor.raw_data for tensor in onnx.load(path).graph.initializer}
    assert loaded == {tensor.name: tensor.raw_data for tensor in graph.graph.initializer}


@pytest.mark.usefixtures("small_files")
def test_a_large_graph_is_verified_like_any_other(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """ONNX Runtime finds the weights beside the graph, and answers as PyTorch does."""
    run = target.Runner(target.write(graph, tmp_path))
    assert verify(ENCODER, load({}), run, {})["outputs"]["embedding"]["max_error"] < 1e-6


@pytest.mark.usefixtures("small_files")
def test_the_files_may_move_together(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """The graph names its weights by file name, without a folder: a version is staged here and served there."""
    (tmp_path / "staged").mkdir()
    target.write(graph, tmp_path / "staged")
    moved = (tmp_path / "staged").rename(tmp_path / "1")
    assert set(target.Runner(moved / "model.onnx")(ENCODER.examples({}, 2, {"sequence": 5}))) == {"embedding", "pooled"}


@pytest.mark.usefixtures("small_files")
def test_a_damaged_weight_file_is_caught(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """One matrix overwritten with zeros in the file beside the graph fails the comparison with PyTorch."""
    path = target.write(graph, tmp_path)
    matrix = next(node.input[1] for node in graph.graph.node if node.op_type == "MatMul")
    tensor = next(one for one in onnx.load(path, load_external_data=False).graph.initializer if one.name == matrix)
    place = {entry.key: entry.value for entry in tensor.external_data}
    with graph_files.data_path(path).open("r+b") as data:
        data.seek(int(place["offset"]))
        data.write(bytes(int(place["length"])))
    with pytest.raises(VerificationFailed, match="output 'embedding' differs"):
        verify(ENCODER, load({}), target.Runner(path), {})


def test_a_small_graph_stays_one_file(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """Below the limit there is nothing beside the graph."""
    target.write(graph, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


class Tables(nn.Module):
    """Two tables of a good GiB each, filled with a cheap pattern."""

    ROWS, WIDTH = 265_000, 1024

    def __init__(self) -> None:
        super().__init__()
        pattern = torch.linspace(-1, 1, 1021)
        count = self.ROWS * self.WIDTH
        for name, scale in (("first", 1.0), ("second", 0.5)):
            table = nn.Embedding(self.ROWS, self.WIDTH, _weight=torch.empty(self.ROWS, self.WIDTH))
            table.weight.data.view(-1).copy_((pattern * scale).repeat(count // 1021 + 1)[:count])
            self.add_module(name, table)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [batch, 4] -> float [batch, 1024]."""
        states: Tensor = self.get_submodule("first")(ids) * self.get_submodule("second")(ids.flip(1))
        return states.sum(1)


def rows(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Rows from both ends of the tables."""
    generator = np.random.default_rng(batch)
    return {"ids": generator.choice([0, 1, 2, Tables.ROWS - 2, Tables.ROWS - 1], (batch, 4)).astype(np.int64)}


LARGE = declare.Model(
    name="tables",
    summary="more weights than protobuf holds",
    load=lambda files: Tables().eval(),
    inputs=(declare.Tensor("ids", "INT64", (4,)),),
    outputs=(declare.Tensor("states", "FP32", (Tables.WIDTH,)),),
    examples=rows,
    assets={},
    max_batch_size=2,
    dynamic_batching=declare.DynamicBatching(1000, 64, 0),
)


def lacks_room(folder: Path) -> str:
    """Why a graph of more than 2 GiB cannot be handled here; empty when it can."""
    memory, disk = psutil.virtual_memory().available / GIB, shutil.disk_usage(folder).free / GIB
    return (
        ""
        if memory > 12 and disk > 6
        else f"needs 12 GiB of memory and 6 of disk; free are {memory:.0f} and {disk:.0f}"
    )


@pytest.mark.slow
def test_more_weights_than_protobuf_holds(tmp_path: Path) -> None:
    """A good 2 GiB of weights, for real: exported, checked, saved, loaded and verified against PyTorch."""
    if reason := lacks_room(tmp_path):
        pytest.skip(reason)
    module = LARGE.load({})
    try:
        path = target.write(export(LARGE, module, {}), tmp_path)
        assert graph_files.data_path(path).stat().st_size > 2 * GIB
        assert verify(LARGE, module, target.Runner(path), {})["outputs"]["states"]["min_cosine"] > 0.999999
    finally:
        shutil.rmtree(tmp_path)
