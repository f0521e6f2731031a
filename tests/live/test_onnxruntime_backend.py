"""The onnxruntime backend in the real Triton: which values pass, who shares a run, and who fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from modelyard_server.process import TritonServer
from support import onnx_models
from support.backend_behaviour import Runs, given_up_requests_are_not_run
from support.onnx_repository import BATCHING, COMPLETED, at_once, config, floats, infer_input, tensors

pytestmark = pytest.mark.live

BATCH_IO = """
batch_input [ { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "ends" data_type: TYPE_INT32 source_input: "x" } ]
batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "doubled" source_input: "x" } ]
"""
SEQUENCE = """
sequence_batching { control_input [
  { name: "start" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
  { name: "corrid" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
] }
"""

MODELS = {
    "every_type": (onnx_models.identity_of_every_type(), COMPLETED),
    "bfloat16": (onnx_models.identity(TensorProto.BFLOAT16), COMPLETED),
    "scalars": (onnx_models.scalar_scale(), COMPLETED),
    "lookup": (
        onnx_models.lookup(rows=10),
        config(
            tensors("input", index="TYPE_INT64 dims: [ -1 ]"),
            tensors("output", row="TYPE_FP32 dims: [ -1, 2 ]"),
            BATCHING,
        ),
    ),
    "text": (
        onnx_models.identity(TensorProto.STRING),
        config(
            tensors("input", x="TYPE_STRING dims: [ 1 ]"), tensors("output", y="TYPE_STRING dims: [ -1 ]"), BATCHING
        ),
    ),
    "ragged": (
        onnx_models.ragged(),
        config(
            tensors("input", x="TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true"),
            tensors("output", doubled="TYPE_FP32 dims: [ -1 ]"),
            BATCH_IO,
            BATCHING,
        ),
    ),
    "sequence": (
        onnx_models.sequence_echo(),
        config(
            tensors("input", x="TYPE_FP32 dims: [ 1 ]"),
            tensors("output", start_out="TYPE_FP32 dims: [ 1 ]", corrid_out="TYPE_UINT64 dims: [ 1 ]"),
            SEQUENCE,
        ),
    ),
    "optional": (
        onnx_models.overridable_offset(),
        config(
            tensors("input", x="TYPE_FP32 dims: [ -1 ]", offset="TYPE_FP32 dims: [ 1 ] optional: true"),
            tensors("output", y="TYPE_FP32 dims: [ -1 ]"),
            max_batch_size=0,
        ),
    ),
    "slow": (
        onnx_models.slow(),
        config(
            tensors("input", steps="TYPE_INT64 dims: [ 1 ]"),
            tensors("output", rows="TYPE_INT64 dims: [ 1 ]"),
            "dynamic_batching { }",
        ),
    ),
}


@pytest.fixture(scope="module")
def server(serve: Callable[[Path], TritonServer], tmp_path_factory: pytest.TempPathFactory) -> TritonServer:
    """Triton over MODELS."""
    repository = tmp_path_factory.mktemp("models")
    for name, (model, text) in MODELS.items():
        onnx_models.write_model(repository, name, model, text)
    return serve(repository)


@pytest.fixture
def client(server: TritonServer) -> Any:
    """A client of that server."""
    return grpc.InferenceServerClient(server.grpc_url)


def look_up(client: Any, *index: int) -> Any:
    """The rows of the table, [n, 2]."""
    result = client.infer("lookup", [infer_input("index", np.array([index]), "INT64")])
    return result.as_numpy("row")[0].tolist()


def some_values(name: str, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Values of a type, its limits included."""
    if name == "STRING":
        return np.resize(np.array([b"", "grüße, 世界".encode(), b"a\0b", b"x" * 1000], dtype=np.object_), shape)
    if name == "BOOL":
        return np.resize(np.array([True, False]), shape)
    kind = np.dtype({"FP16": "float16", "FP32": "float32", "FP64": "float64"}.get(name, name.lower()))
    limits: Any = np.finfo(kind) if name.startswith("FP") else np.iinfo(kind)
    return np.resize(np.array([limits.min, limits.max, 0, 1], dtype=kind), shape)


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (2, 0)])
def test_every_type_passes_unchanged(client: Any, shape: tuple[int, int]) -> None:
    """All integers and floats at their limits, booleans and strings, zero-size tensors included."""
    arrays = {name: some_values(name, shape) for name in onnx_models.ELEMENT_TYPES}
    wire_types = {**{name: name for name in arrays}, "STRING": "BYTES"}
    inputs = [infer_input(f"in_{name}", array, wire_types[name]) for name, array in arrays.items()]
    result = client.infer("every_type", inputs)
    for name, array in arrays.items():
        answer = result.as_numpy(f"out_{name}")
        assert (answer.shape, answer.dtype) == (array.shape, array.dtype)
        assert (answer == array).all()


@pytest.mark.parametrize("shape", [(2, 3), (2, 0)])
def test_bfloat16_passes_unchanged(client: Any, shape: tuple[int, int]) -> None:
    """In both directions, bit for bit."""
    values = np.resize(np.array([1.5, -3.0, 3.38e38, 1e-38], dtype=ml_dtypes.bfloat16), shape)
    result = client.infer("bfloat16", [infer_input("x", values, "BF16")])
    assert result.get_output("y").datatype == "BF16"
    answer = result.as_numpy("y")
    assert answer.shape == shape
    assert (answer.view(np.uint16) == values.view(np.uint16)).all()


def test_joined_bfloat16_requests_get_their_own_rows(client: Any) -> None:
    """Joined and split as 16-bit words."""
    values = [np.full((1, 2), number, dtype=ml_dtypes.bfloat16) for number in range(8)]
    futures = at_once([partial(client.infer, "bfloat16", [infer_input("x", each, "BF16")]) for each in values])
    for value, future in zip(values, futures, strict=True):
        assert (future.result().as_numpy("y") == value).all()


def test_scalars_are_one_for_clients(client: Any) -> None:
    """A rank-0 input is sent as [1], and a rank-0 output comes as [1]."""
    result = client.infer("scalars", [floats("x", [1, 2, 3]), floats("factor", [2])])
    assert result.as_numpy("y").tolist() == [2, 4, 6]
    assert result.as_numpy("total").tolist() == [6]


def test_a_dynamic_batch_is_one_run(client: Any) -> None:
    """Eight requests that Triton batches run once, and each gets its own rows."""
    runs = Runs(client, "lookup")
    futures = at_once([partial(look_up, client, number) for number in range(8)])
    assert [future.result() for future in futures] == [[[2 * number, 2 * number + 1]] for number in range(8)]
    assert runs.after(requests=8) == 1


def test_requests_of_several_rows_share_a_run(client: Any) -> None:
    """Rows are split by the size of each request's own batch."""
    sizes = [1, 3, 4]
    inputs = [infer_input("index", np.full((size, 2), size), "INT64") for size in sizes]
    futures = at_once([partial(client.infer, "lookup", [each]) for each in inputs])
    for size, future in zip(sizes, futures, strict=True):
        assert future.result().as_numpy("row").tolist() == [[[2 * size, 2 * size + 1]] * 2] * size


def test_one_bad_request_in_a_batch_fails_alone(client: Any) -> None:
    """An index outside the table: its batch-mates are served, and it gets ONNX Runtime's words."""
    runs = Runs(client, "lookup")
    futures = at_once([partial(look_up, client, number) for number in (0, 1, 99, 2, 3, 4, 5, 6)])
    bad = futures.pop(2)
    assert [future.result() for future in futures] == [[[2 * number, 2 * number + 1]] for number in range(7)]
    with pytest.raises(InferenceServerException, match=r"idx=99 must be within the inclusive range \[-10,9\]"):
        bad.result()
    assert runs.after(requests=8) == 1, "the eight were no single batch, so that nothing was tested"


def test_a_string_that_is_not_utf_8_fails_alone(client: Any) -> None:
    """It is refused as the client's mistake, with its place, and its batch-mates are served."""
    runs = Runs(client, "text")
    texts = [b"one", b"two", b"bad \xff", "drei €".encode()]
    inputs = [infer_input("x", np.array([[text]], dtype=np.object_), "BYTES") for text in texts]
    futures = at_once([partial(client.infer, "text", [each]) for each in (*inputs, *inputs)])
    assert runs.after(requests=8) == 1
    for text, future in zip((*texts, *texts), futures, strict=True):
        if text.startswith(b"bad"):
            with pytest.raises(InferenceServerException, match="input 'x', element 0: expected UTF-8") as refusal:
                future.result()
            assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
        else:
            assert future.result().as_numpy("y").tolist() == [[text]]


def test_a_request_of_another_shape_is_served_beside_the_batch(client: Any) -> None:
    """Requests of unlike shapes, sent at once, each get their answer."""
    futures = at_once([partial(look_up, client, *range(length)) for length in (1, 2, 3, 1)])
    assert [len(future.result()) for future in futures] == [1, 2, 3, 1]


def test_only_the_outputs_that_were_asked_for_come(client: Any) -> None:
    """One of two, and neither of the others."""
    wanted = [grpc.InferRequestedOutput("total")]
    result = client.infer("scalars", [floats("x", [1, 2]), floats("factor", [2])], outputs=wanted)
    assert [output.name for output in result.get_response().outputs] == ["total"]


def test_a_ragged_batch_is_one_run(client: Any) -> None:
    """Requests of different lengths are laid end to end, described by a batch_input, and cut up by a batch_output."""
    runs = Runs(client, "ragged")
    lengths = [1, 2, 3, 4, 5, 6, 7, 8]
    inputs = [floats("x", [[length] * length]) for length in lengths]
    futures = at_once([partial(client.infer, "ragged", [each]) for each in inputs])
    assert [future.result().as_numpy("doubled").tolist() for future in futures] == [
        [[2 * length] * length] for length in lengths
    ]
    assert runs.after(requests=8) == 1


def test_a_sequence_model_gets_its_controls(client: Any) -> None:
    """Start is 1 for the first request of a sequence only, and the correlation id arrives as uint64."""

    def answer(*, start: bool, end: bool) -> tuple[float, int]:
        result = client.infer(
            "sequence", [floats("x", [[1]])], sequence_id=2**62, sequence_start=start, sequence_end=end
        )
        return result.as_numpy("start_out").item(), result.as_numpy("corrid_out").item()

    assert answer(start=True, end=False) == (1.0, 2**62)
    assert answer(start=False, end=True) == (0.0, 2**62)


def test_an_optional_input_may_be_left_out(client: Any) -> None:
    """Without it the initializer's value holds, with it the request's."""
    x = floats("x", [1, 2])
    assert client.infer("optional", [x]).as_numpy("y").tolist() == [101, 102]
    assert client.infer("optional", [x, floats("offset", [10])]).as_numpy("y").tolist() == [11, 12]


def test_a_request_that_was_given_up_is_not_run(client: Any) -> None:
    """What waits behind a long run and is cancelled does not reach the model."""
    given_up_requests_are_not_run(client, steps=200)
