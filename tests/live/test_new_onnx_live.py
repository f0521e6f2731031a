"""ONNX files of onnx's own tests through new, build, a real Triton and the client: the answers that onnx says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend import test as onnx_tests

from modelyard_build import pipeline
from modelyard_build.adoption.declaration import render
from modelyard_build.adoption.origin import Wish
from modelyard_build.adoption.origins.onnx_file import ORIGIN
from modelyard_build.adoption.trial import attempt, declared
from modelyard_build.model import Array, Model
from modelyard_client import Client
from modelyard_ops.building import serve_scratch
from modelyard_server.process import TritonServer
from support.candidates import Steps, declare_only
from support.triton import fresh_cache, options_on_free_ports

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
DATA = Path(onnx_tests.__file__).parent / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing proven before."""
    fresh_cache(tmp_path, monkeypatch)


@contextmanager
def adopted(name: str, path: Path) -> Iterator[Model]:
    """What `modelyard new` declares of a file."""
    wish = Wish(name, str(path))
    opened = ORIGIN.open(wish)
    assert opened.inspected is not None
    tried = attempt(wish, opened, opened.inspected, lambda line: None)
    assert tried.refused == ""
    with declared(render(wish, opened, tried.inspected), name, tried.inspected.example) as model:
        yield model


def arrays(folder: Path, role: str) -> list[Array]:
    """The inputs or outputs that onnx's test gives."""
    found = []
    for path in sorted(folder.glob(f"test_data_set_0/{role}_*.pb")):
        tensor = TensorProto()
        tensor.ParseFromString(path.read_bytes())
        found.append(numpy_helper.to_array(tensor))
    return found


@pytest.mark.parametrize(
    ("name", "folder", "batched"),
    [
        # The walk-through of docs/new.md takes the same file.
        pytest.param(
            "shuffle",
            DATA / "pytorch-converted" / "test_PixelShuffle",
            True,
            id="fixed batch of 1",
            marks=pytest.mark.slow,
        ),
        pytest.param("sequence", DATA / "simple" / "test_sequence_model4", False, id="no batch"),
    ],
)
def test_a_file_of_onnx_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, batched: bool
) -> None:
    """A batch that the file fixes at 1 is a real one on the server; a file without one is served whole."""
    with adopted(name, folder / "model.onnx") as model:
        declare_only(monkeypatch, model)
        pipeline.build([], tmp_path / "repo", serve_scratch, Steps())
    names = [value.name for value in onnx.load(folder / "model.onnx").graph.input]
    inputs = dict(zip(names, arrays(folder, "input"), strict=False))
    (expected,) = arrays(folder, "output")
    with (
        TritonServer(options_on_free_ports(tmp_path / "repo")) as server,
        Client(f"grpc://{server.grpc_url}") as client,
    ):
        assert bool(client.config(name).max_batch_size) is batched
        (answer,) = client.infer(name, inputs).values()
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)
        if batched:
            many = {name: np.concatenate([array, array * 2, array]) for name, array in inputs.items()}
            (answers,) = client.infer(name, many).values()
            np.testing.assert_allclose(answers[::2], np.concatenate([expected, expected]), rtol=1e-5, atol=1e-6)
