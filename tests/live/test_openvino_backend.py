"""The openvino backend in the real Triton: batches, types, and what is completed and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from modelyard_server.process import TritonServer
from support import onnx_models, openvino_models
from support.backend_behaviour import BackendBehaviour, Runs
from support.onnx_repository import BATCHING, ONE_INSTANCE, at_once, floats, infer_input, parameters, tensors
from support.onnx_repository import config as any_config

pytestmark = pytest.mark.live

PADDING = parameters(ENABLE_BATCH_PADDING="YES")
TWO_INSTANCES = "instance_group [ { count: 2 kind: KIND_CPU } ]"
ONNX_FILE = 'default_model_filename: "model.onnx"'
X3 = tensors("input", x="TYPE_FP32 dims: [ 3 ]")
Y2 = tensors("output", y="TYPE_FP32 dims: [ 2 ]")
WEIGHTS = np.arange(6).reshape(3, 2)


def config(*lines: str, max_batch_size: int = 8, instances: str = ONE_INSTANCE) -> str:
    """A config.pbtxt of this backend."""
    return any_config(*lines, max_batch_size=max_batch_size, instances=instances, backend="openvino")


MODELS = {
    "pair": (
        openvino_models.pair(),
        config(
            tensors("input", x="TYPE_FP32 dims: [ -1 ]"),
            tensors("output", doubled="TYPE_FP32 dims: [ -1 ]", negated="TYPE_FP32 dims: [ -1 ]"),
            BATCHING,
            PADDING,
        ),
    ),
    "whole_batches": (openvino_models.matmul(WEIGHTS), config(X3, Y2, BATCHING, max_batch_size=4)),
    "converted": (
        openvino_models.matmul(WEIGHTS),
        config(
            tensors("input", x="TYPE_INT32 dims: [ 3 ]"),
            tensors("output", y="TYPE_FP16 dims: [ 2 ]"),
            PADDING,
            max_batch_size=4,
        ),
    ),
    "reshaped": (
        openvino_models.convolution(),
        config(
            tensors("input", x="TYPE_FP32 dims: [ -1, 3, -1, -1 ]"),
            tensors("output", y="TYPE_FP32 dims: [ -1, 2, -1, -1 ]"),
            parameters(RESHAPE_IO_LAYERS="yes"),
            max_batch_size=0,
        ),
    ),
    "completed": (openvino_models.matmul(WEIGHTS, batch=1, layout="NC"), f'backend: "openvino"\n{ONE_INSTANCE}'),
    "two": (openvino_models.matmul(WEIGHTS), config(X3, Y2, PADDING, instances=TWO_INSTANCES)),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MODELS, and `slow`, which is ONNX."""
    folder = tmp_path_factory.mktemp("models")
    for name, (model, text) in MODELS.items():
        openvino_models.write_model(folder, name, model, text)
    steps = tensors("input", steps="TYPE_INT64 dims: [ 1 ]"), tensors("output", rows="TYPE_INT64 dims: [ 1 ]")
    slow = config(*steps, "dynamic_batching { }", PADDING, ONNX_FILE)
    onnx_models.write_model(folder, "slow", onnx_models.slow(), slow)
    return folder


@pytest.fixture(scope="module")
def server(serve: Callable[[Path], TritonServer], repository: Path) -> TritonServer:
    """Triton over the repository."""
    return serve(repository)


@pytest.fixture
def client(server: TritonServer) -> Any:
    """A client of that server."""
    return grpc.InferenceServerClient(server.grpc_url)


def answer(client: Any, model: str, rows: int) -> Any:
    """The answer to `rows` rows of 1, 2, 3."""
    return client.infer(model, [floats("x", [[1, 2, 3]] * rows)]).as_numpy("y").tolist()


class TestOpenVino(BackendBehaviour):
    """As every backend; `slow` also shows that OpenVINO reads ONNX under its file name."""

    long_run = 400  # where OpenVINO computes in bfloat16


def test_without_padding_only_whole_batches_are_served(client: Any) -> None:
    """As in the container: four items run, three are refused with the mend, and another four run after that."""
    assert answer(client, "whole_batches", rows=4) == [[16, 22]] * 4
    with pytest.raises(
        InferenceServerException, match=r"a batch of 3, .* max_batch_size 4: .*ENABLE_BATCH_PADDING to YES"
    ):
        answer(client, "whole_batches", rows=3)
    assert answer(client, "whole_batches", rows=4) == [[16, 22]] * 4


def test_requests_that_triton_joins_to_a_whole_batch_are_served(client: Any) -> None:
    """Four requests of one item each are one batch of four."""
    runs = Runs(client, "whole_batches")
    futures = at_once([lambda: answer(client, "whole_batches", rows=1)] * 4)
    assert [future.result() for future in futures] == [[[16, 22]]] * 4
    assert runs.after(requests=4) == 1


def test_types_are_converted(client: Any) -> None:
    """INT32 into a float32 model and FP16 out of it, as config.pbtxt says."""
    result = client.infer("converted", [infer_input("x", np.array([[1, 2, 3]], dtype=np.int32), "INT32")])
    assert result.get_output("y").datatype == "FP16"
    assert result.as_numpy("y").tolist() == [[16, 22]]


def test_inputs_are_reshaped_where_config_says_so(client: Any) -> None:
    """A model of [1, 3, 4, 4] serves another batch and resolution."""
    answer = client.infer("reshaped", [floats("x", np.ones((2, 3, 5, 6)))]).as_numpy("y")
    assert answer.shape == (2, 2, 5, 6)
    assert (answer == 3).all()


def test_a_model_with_a_batch_layout_is_completed(client: Any) -> None:
    """max_batch_size 4, dynamic batching, and dims without the batch."""
    served = client.get_model_config("completed", as_json=True)["config"]
    assert served["max_batch_size"] == 4
    assert "dynamic_batching" in served
    assert served["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["3"]}]
    assert served["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": ["2"]}]
    assert answer(client, "completed", rows=4) == [[16, 22]] * 4


def test_the_log_says_what_computes_and_how(server: TritonServer) -> None:
    """Artefact, version, device and precision; and the share of the threads, with two instances half of them each."""
    lines = [line for line in server.log_path.read_text().splitlines() if "in openvino" in line]
    assert any("slow_0_0: 1/model.onnx in openvino" in line for line in lines)
    two = [line for line in lines if '"two_0_' in line]
    assert len(two) == 2
    assert all("on CPU, computes in " in line and " thread(s), " in line for line in two)


REFUSED = {
    "names": (config(tensors("input", z="TYPE_FP32 dims: [ 3 ]"), Y2), "input 'z', which 1/model.xml does not have"),
    "dims": (config(tensors("input", x="TYPE_FP32 dims: [ 4 ]"), Y2), r"input 'x' has shape \[-1,4\].*dims: \[ 3 \]"),
    "type": (config(tensors("input", x="TYPE_FP64 dims: [ 3 ]"), Y2), "data_type TYPE_FP64, which the openvino"),
    "ragged": (
        config(tensors("input", x="TYPE_FP32 dims: [ 3 ] allow_ragged_batch: true"), Y2),
        "does not serve allow_ragged_batch: true",
    ),
    "kind": (config(X3, Y2, instances="instance_group [ { kind: KIND_MODEL } ]"), "supports KIND_CPU only"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_the_container_refuses_is_refused_with_its_reason(repository: Path, client: Any, case: str) -> None:
    """A load fails with our sentence in Triton's answer, and nothing else is disturbed."""
    text, reason = REFUSED[case]
    openvino_models.write_model(repository, f"refused_{case}", openvino_models.matmul(WEIGHTS), text)
    with pytest.raises(InferenceServerException, match=reason):
        client.load_model(f"refused_{case}")
    assert answer(client, "two", rows=1) == [[16, 22]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.xml", r"no file 1/model\.xml; the version holds model\.bin"),
        ("model.bin", r"cannot read 1/model\.xml.*bin"),
    ],
)
def test_a_file_that_is_missing_is_named(repository: Path, client: Any, name: str, reason: str) -> None:
    """The graph, or the weights beside it."""
    model = f"without_{Path(name).suffix[1:]}"
    folder = openvino_models.write_model(repository, model, openvino_models.matmul(WEIGHTS), config(X3, Y2))
    (folder / "1" / name).unlink()
    with pytest.raises(InferenceServerException, match=reason):
        client.load_model(model)


def test_an_onnx_file_that_is_corrupt_is_refused(repository: Path, client: Any) -> None:
    """The reason names the file that default_model_filename names."""
    folder = onnx_models.write_model(repository, "corrupt_onnx", onnx_models.matmul(WEIGHTS), config(X3, Y2, ONNX_FILE))
    (folder / "1" / "model.onnx").write_bytes(onnx_models.matmul(WEIGHTS).SerializeToString()[:40])
    with pytest.raises(InferenceServerException, match=r"cannot read 1/model\.onnx"):
        client.load_model("corrupt_onnx")
