"""The onnxruntime backend in the real Triton: what is completed, loaded, refused and given back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from onnx import TensorProto
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from modelyard_server.process import TritonServer
from support import onnx_models
from support.onnx_repository import COMPLETED, ONE_INSTANCE, config, floats, tensors

pytestmark = pytest.mark.live

TWO_INSTANCES = "instance_group [ { count: 2 kind: KIND_CPU } ]"
X3 = tensors("input", x="TYPE_FP32 dims: [ 3 ]")
Y2 = tensors("output", y="TYPE_FP32 dims: [ 2 ]")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models that load."""
    folder = tmp_path_factory.mktemp("models")
    onnx_models.write_model(folder, "row_sums", onnx_models.row_sums(), COMPLETED)
    onnx_models.write_model(folder, "scalars", onnx_models.scalar_scale(), COMPLETED)
    versions = config(X3, Y2, "version_policy: { all { } }", instances=TWO_INSTANCES)
    onnx_models.write_model(folder, "versions", onnx_models.matmul(np.ones((3, 2))), versions)
    # Version 2 has its weights outside the file, in a folder.
    twos = onnx_models.matmul(np.full((3, 2), 2.0))
    onnx_models.save_with_external_data(twos, folder / "versions" / "2" / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def server(serve: Callable[[Path], TritonServer], repository: Path) -> TritonServer:
    """Triton over the repository."""
    return serve(repository)


@pytest.fixture
def client(server: TritonServer) -> Any:
    """A client of that server."""
    return grpc.InferenceServerClient(server.grpc_url)


def completed(client: Any, model: str) -> dict[str, Any]:
    """The configuration that Triton serves the model with."""
    answer: dict[str, Any] = client.get_model_config(model, as_json=True)["config"]
    return answer


def stubs(server: TritonServer) -> list[psutil.Process]:
    """The processes of model instances."""
    return [child for child in psutil.Process(server.state.pid).children(recursive=True) if is_stub(child)]


def is_stub(process: psutil.Process) -> bool:
    """Whether a process, which may end at any time, is an instance."""
    try:
        return process.name().startswith("triton_python")
    except psutil.NoSuchProcess:
        return False


def test_a_batching_graph_is_completed_as_the_container_does(client: Any) -> None:
    """max_batch_size 4, dynamic batching, dims without the batch, and a reshape where the batch is all there is."""
    served = completed(client, "row_sums")
    assert served["max_batch_size"] == 4
    assert "dynamic_batching" in served
    assert served["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1"]}]
    assert served["output"] == [{"name": "sum", "data_type": "TYPE_FP32", "dims": ["1"], "reshape": {}}]
    assert client.infer("row_sums", [floats("x", [[1, 2], [3, 4]])]).as_numpy("sum").tolist() == [[3], [7]]


def test_a_graph_that_cannot_batch_is_completed_without(client: Any) -> None:
    """No max_batch_size, no scheduler, and [1] for scalars."""
    served = completed(client, "scalars")
    assert "max_batch_size" not in served
    assert "dynamic_batching" not in served
    assert served["input"][1] == {"name": "factor", "data_type": "TYPE_FP32", "dims": ["1"]}


@pytest.mark.parametrize(("version", "row"), [("1", [6, 6]), ("2", [12, 12])])
def test_versions_are_served_side_by_side(client: Any, version: str, row: list[float]) -> None:
    """Each from its own artefact: a file, and a folder with external data."""
    result = client.infer("versions", [floats("x", [[1, 2, 3]])], model_version=version)
    assert result.as_numpy("y").tolist() == [row]


def test_the_log_says_what_runs_a_model(server: TritonServer) -> None:
    """Artefact, ONNX Runtime's version, provider and threads, for every instance."""
    log = server.log_path.read_text(errors="replace")
    assert "versions_0_0: 1/model.onnx in onnxruntime" in log
    assert "versions_0_1: 2/model.onnx/model.onnx in onnxruntime" in log
    assert "CPUExecutionProvider" in log


def test_unloading_ends_the_instances(server: TritonServer, client: Any) -> None:
    """Two versions with two instances each are four processes, and none after the unload."""
    before = len(stubs(server))
    client.unload_model("versions")
    deadline = time.monotonic() + 30
    while len(stubs(server)) > before - 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(stubs(server)) == before - 4
    client.load_model("versions")
    assert len(stubs(server)) == before


WRONG_SHAPE = config(tensors("input", x="TYPE_FP32 dims: [ 4 ]"), Y2)
CANNOT_BATCH = f'backend: "onnxruntime"\nmax_batch_size: 8\n{ONE_INSTANCE}'
PARAMETER = 'parameters { key: "execution_mode" value { string_value: "7" } }'


@pytest.mark.parametrize(
    ("model", "text", "reason"),
    [
        (onnx_models.matmul(np.ones((3, 2))), WRONG_SHAPE, r"input 'x' has shape \[-1,4\].*set dims: \[ 3 \]"),
        (
            onnx_models.identity(TensorProto.FLOAT, (1, 3)),
            CANNOT_BATCH,
            r"max_batch_size is 8, but 'x' has shape \[1,3\]",
        ),
        (onnx_models.matmul(np.ones((3, 2))), config(X3, Y2, PARAMETER), r"'execution_mode' is 7, expected 0 .*or 1"),
    ],
    ids=["contract", "autocomplete", "parameter"],
)
def test_what_the_container_refuses_is_refused_with_its_reason(
    repository: Path, client: Any, model: Any, text: str, reason: str, request: pytest.FixtureRequest
) -> None:
    """A load fails with our sentence in Triton's answer, and nothing else is disturbed."""
    name = f"refused_{request.node.callspec.id}"
    onnx_models.write_model(repository, name, model, text)
    with pytest.raises(InferenceServerException, match=reason):
        client.load_model(name)
    assert client.infer("row_sums", [floats("x", [[1, 2]])]).as_numpy("sum").tolist() == [[3]]


def test_a_file_that_is_no_model_is_refused(repository: Path, client: Any) -> None:
    """The reason names the file and carries ONNX Runtime's words."""
    folder = onnx_models.write_model(repository, "broken", onnx_models.matmul(np.ones((3, 2))), config(X3, Y2))
    (folder / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InferenceServerException, match=r"cannot open 1/model\.onnx.*INVALID_PROTOBUF"):
        client.load_model("broken")


def test_a_missing_file_is_refused(repository: Path, client: Any) -> None:
    """The reason lists what the version holds."""
    folder = onnx_models.write_model(repository, "missing", onnx_models.matmul(np.ones((3, 2))), config(X3, Y2))
    (folder / "1" / "model.onnx").rename(folder / "1" / "weights.onnx")
    with pytest.raises(InferenceServerException, match=r"no file 1/model\.onnx; the version holds weights\.onnx"):
        client.load_model("missing")
