"""Both clients over both protocols, on models that give back what they get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from modelyard_client import Client, Result, bfloat16_to_float32
from modelyard_server.process import TritonServer
from support.client_models import DATATYPES, samples
from support.clients import KINDS, Kind, open_client, url_of

pytestmark = pytest.mark.live

A, B = np.arange(8, dtype=np.float32).reshape(2, 4), np.ones((2, 4), np.float32)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module", params=KINDS)
def client(client_triton: TritonServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of each kind."""
    kind: Kind = request.param
    with open_client(kind, url_of(client_triton, kind), deadline=30) as opened:
        yield opened


def seen(result: Result) -> dict[str, Any]:
    """What the model `echo` saw of its request."""
    described: dict[str, Any] = json.loads(result["request"][0])
    return described


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_comes_back_as_it_went(client: Client, datatype: str) -> None:
    """Extremes, NaN, bits of bfloat16, empty and arbitrary bytes survive both ways."""
    values = samples(datatype)
    answer = client.infer("types", {f"{datatype}_in": values}, outputs=[datatype])[datatype]
    if datatype == "BYTES":
        values = np.array([[item.encode() if isinstance(item, str) else item for item in row] for row in values])
        assert answer.tolist() == values.tolist()
    else:
        np.testing.assert_array_equal(answer, values)
        assert answer.dtype == values.dtype


@pytest.mark.parametrize("datatype", ["FP32", "BYTES", "BOOL"])
def test_tensors_without_elements_go_through(client: Client, datatype: str) -> None:
    """A dimension of zero, which -1 allows, keeps its shape."""
    empty = np.empty((0, 3), samples(datatype).dtype)
    assert client.infer("types", {f"{datatype}_in": empty}, outputs=[datatype])[datatype].shape == (0, 3)


def test_big_endian_strided_and_transposed_arrays_are_laid_out_right(client: Client) -> None:
    """What counts are the values, not how the caller's memory holds them."""
    values = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2].T
    answer = client.infer("types", {"FP32_in": values}, outputs=["FP32"])["FP32"]
    assert answer.tolist() == [[0, 4, 8], [2, 6, 10]]


def test_bfloat16_bits_are_the_values(client: Client) -> None:
    """The documented conversion gives the numbers that the model saw."""
    answer = client.infer("types", {"BF16_in": samples("BF16")}, outputs=["BF16"])["BF16"]
    assert bfloat16_to_float32(answer)[0].tolist() == [1.0, 0.0, -1.0]


def test_all_outputs_come_unless_some_are_named(client: Client) -> None:
    """None asks for all; a list for just those."""
    everything = client.infer("add", {"a": A, "b": B})
    assert {name: array.tolist() for name, array in everything.items()} == {
        "sum": (A + B).tolist(),
        "difference": (A - B).tolist(),
    }
    assert set(client.infer("add", {"a": A, "b": B}, outputs=["difference"])) == {"difference"}


def test_classes_come_with_their_labels(client: Client) -> None:
    """The classification extension: the k highest, each as value, index and label, beside other outputs."""
    result = client.infer("add", {"a": A, "b": B}, class_count={"sum": 2})
    assert result["sum"].tolist() == [
        [b"4.000000:3:three", b"3.000000:2:two"],
        [b"8.000000:3:three", b"7.000000:2:two"],
    ]
    assert result["difference"].tolist() == (A - B).tolist()


def test_result_says_who_answered_and_under_which_id(client: Client) -> None:
    """Version and request id stand beside the arrays."""
    result = client.infer("add", {"a": A, "b": B}, request_id="ticket-7", version="1")
    assert (result.model, result.model_version, result.request_id) == ("add", "1", "ticket-7")


def test_results_are_read_only(client: Client) -> None:
    """Views of the answer are not written by accident."""
    with pytest.raises(ValueError, match="read-only"):
        client.infer("add", {"a": A, "b": B})["sum"][0, 0] = 1


def test_model_sees_id_parameters_and_deadline(client: Client) -> None:
    """What goes with a request reaches the model, each parameter with its type."""
    parameters: dict[str, str | bool | int | float] = {"text": "é", "yes": True, "count": 2**40, "share": 0.25}
    result = client.infer("echo", {"text": ["x"]}, request_id="r1", parameters=parameters, deadline=20)
    assert seen(result)["request_id"] == "r1"
    assert seen(result)["parameters"] == parameters
    assert 10e6 < seen(result)["timeout"] <= 20e6


def test_every_request_has_an_id_of_its_own(client: Client) -> None:
    """A random one where the caller gives none, the same that the server sees."""
    first, second = (client.infer("echo", {"text": ["x"]}) for _ in range(2))
    assert first.request_id != second.request_id
    assert seen(first)["request_id"] == first.request_id
    assert len(first.request_id) == 32


def test_large_tensors_go_through(client: Client) -> None:
    """16 MiB, beyond gRPC's default limit of 4 and a socket's buffers."""
    values = np.random.default_rng(0).random((2048, 2048), dtype=np.float32)
    answer = client.infer("types", {"FP32_in": values}, outputs=["FP32"])["FP32"]
    np.testing.assert_array_equal(answer, values)


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_one_client_serves_many_threads(client_triton: TritonServer, kind: Kind) -> None:
    """32 threads at once on one client: each gets the answer to its own request."""
    with Client(url_of(client_triton, kind), deadline=30) as shared, ThreadPoolExecutor(32) as pool:

        def call(number: int) -> float:
            result = shared.infer("add", {"a": np.full((1, 4), number, np.float32), "b": B[:1]})
            return float(result["sum"][0, 0])

        assert list(pool.map(call, range(400))) == [number + 1 for number in range(400)]


def test_priority_is_taken(client: Client) -> None:
    """As a number, in the type that Triton asks for."""
    assert client.infer("echo", {"text": ["x"]}, priority=1)["text"].tolist() == [b"x"]


def test_traceparent_is_taken(client: Client) -> None:
    """A trace context goes along without disturbing the request."""
    assert client.infer("echo", {"text": ["x"]}, traceparent=TRACEPARENT)["text"].tolist() == [b"x"]


@pytest.mark.parametrize("sequence_id", [7, "seven"])
def test_sequence_keeps_its_state(client: Client, sequence_id: int | str) -> None:
    """Start, middle and end of a sequence reach the same instance, with a number or a name as id."""
    totals = []
    for number in (1, 2, 3):
        result = client.infer(
            "counter",
            {"number": np.full((1, 1), number, np.int32)},
            sequence_id=sequence_id,
            sequence_start=number == 1,
            sequence_end=number == 3,
        )
        totals.append(int(result["total"][0, 0]))
    assert totals == [1, 3, 6]


def test_many_requests_come_back_in_order(client: Client) -> None:
    """infer_many overlaps requests and keeps their order."""
    requests = ({"a": A * n, "b": B} for n in range(50))
    sums = [result["sum"][1, 3] for result in client.infer_many("add", requests, in_flight=8)]
    assert sums == [7 * n + 1 for n in range(50)]


def test_metadata_and_config_are_the_same_over_both_protocols(client: Client) -> None:
    """HTTP's JSON and gRPC's messages end in the same values."""
    metadata = client.metadata("add")
    assert metadata.versions == ("1",)
    assert [(spec.name, spec.datatype, spec.shape) for spec in metadata.inputs] == [
        ("a", "FP32", (-1, 4)),
        ("b", "FP32", (-1, 4)),
    ]
    config = client.config("counter")
    assert config.sequence_batching.max_sequence_idle_microseconds == 60_000_000
    assert config.max_batch_size == 1
    assert client.config("ticket_classifier_tokenizer").parameters["max_length"].string_value == "16"


def test_server_and_models_are_ready(client: Client) -> None:
    """Waiting for what is there ends at once."""
    assert client.server_live()
    client.wait_ready(timeout=5)
    client.wait_ready("add", timeout=5)
