"""What goes over the wire, and what answers mean: both protocols, without a server."""

from __future__ import annotations

import dataclasses
import json
import mmap
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from modelyard_client import calls
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import (
    AccessDenied,
    ClientClosed,
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    SequenceLost,
    ServerBusy,
    ServerUnavailable,
    SharedMemoryFailed,
    UnexpectedAnswer,
)
from modelyard_client.request import InferRequest, InputTensor, RequestedOutput, Slice
from modelyard_client.result import InferResponse, decode_response
from modelyard_client.wire import grpc as grpc_wire
from modelyard_client.wire import http as http_wire

GRPC, HTTP = Endpoint("grpc", "host", 8001), Endpoint("http", "host", 8000)
DATA = np.arange(4, dtype=np.float32)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REQUEST = InferRequest(
    model="m",
    version="3",
    request_id="r1",
    inputs=(
        InputTensor("x", "FP32", (1, 4), DATA.view(np.uint8).data),
        InputTensor("y", "FP32", (1, 2), None, Slice("region", 64, 8)),
    ),
    outputs=(RequestedOutput("p", class_count=3), RequestedOutput("q", shared=Slice("region", 128, 16))),
    parameters={"text": "é", "yes": True, "count": 7, "share": 0.5, "priority": 2, "sequence_id": "s"},
    traceparent=TRACEPARENT,
)
INFER = calls.Infer(REQUEST)
SHARED_Y = {"shared_memory_region": "region", "shared_memory_offset": 64, "shared_memory_byte_size": 8}


def test_http_request_is_json_and_then_the_tensors() -> None:
    """KServe v2 with Triton's binary extension: the header says where the JSON ends."""
    request = http_wire.encode(INFER, {"authorization": "x"})
    header = json.loads(bytes(request.body[0]))
    assert (request.method, request.path) == ("POST", "/v2/models/m/versions/3/infer")
    assert request.headers["inference-header-content-length"] == str(len(request.body[0]))
    assert request.headers["content-length"] == str(len(request.body[0]) + 16)
    assert (request.headers["traceparent"], request.headers["authorization"]) == (TRACEPARENT, "x")
    assert bytes(request.body[1]) == DATA.tobytes()
    assert header["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}},
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": SHARED_Y},
    ]
    assert header["outputs"][0] == {"name": "p", "parameters": {"binary_data": True, "classification": 3}}
    assert header["outputs"][1]["parameters"]["shared_memory_byte_size"] == 16
    assert header["parameters"] == REQUEST.parameters
    assert header["id"] == "r1"


def test_http_asks_for_all_outputs_in_binary() -> None:
    """Without names, no output comes as JSON numbers."""
    bare = InferRequest("m", "", "r", (), (), {"timeout": 5})
    header = json.loads(bytes(http_wire.encode(calls.Infer(bare), {}).body[0]))
    assert header["parameters"] == {"timeout": 5, "binary_data_output": True}
    assert "outputs" not in header


def test_grpc_request_is_the_same() -> None:
    """The same fields in `ModelInferRequest`, each parameter with Triton's type."""
    message = grpc_wire.encode_infer(REQUEST)
    assert (message.model_name, message.model_version, message.id) == ("m", "3", "r1")
    assert list(message.raw_input_contents) == [DATA.tobytes()]
    assert [(tensor.name, list(tensor.shape)) for tensor in message.inputs] == [("x", [1, 4]), ("y", [1, 2])]
    assert message.inputs[1].parameters["shared_memory_offset"].int64_param == 64
    assert message.outputs[0].parameters["classification"].int64_param == 3
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in message.parameters.items()}
    assert kinds == {
        "text": "string_param",
        "yes": "bool_param",
        "count": "int64_param",
        "share": "double_param",
        "priority": "uint64_param",
        "sequence_id": "string_param",
    }
    assert grpc_wire.encode_metadata({"a": "b"}, INFER) == [("a", "b"), ("traceparent", TRACEPARENT)]


def test_grpc_refuses_what_protobuf_cannot_hold() -> None:
    """Found before gigabytes are copied."""
    # Memory that is mapped and never touched.
    tensor = InputTensor("x", "UINT8", (2**31,), memoryview(mmap.mmap(-1, 2**31)))
    with pytest.raises(InvalidInput, match=r"2\.00 GiB, gRPC carries less than 2"):
        grpc_wire.encode_infer(InferRequest("m", "", "r", (tensor,), (), {}))


def grpc_response() -> Any:
    """Two outputs, the second of them in shared memory."""
    message = pb.ModelInferResponse(model_name="m", model_version="3", id="r1")
    message.outputs.add(name="x", datatype="FP32", shape=[4])
    message.outputs.add(name="q", datatype="FP32", shape=[2])
    message.raw_output_contents.extend([DATA.tobytes(), b""])
    return message


def http_response() -> http_wire.HttpResponse:
    """The same."""
    header = {
        "model_name": "m",
        "model_version": "3",
        "outputs": [
            {"name": "x", "datatype": "FP32", "shape": [4], "parameters": {"binary_data_size": 16}},
            {"name": "q", "datatype": "FP32", "shape": [2]},
        ],
    }
    described = json.dumps(header).encode()
    headers = {"inference-header-content-length": str(len(described))}
    return http_wire.HttpResponse(200, headers, described + DATA.tobytes())


@pytest.mark.parametrize(
    "response",
    [grpc_wire.decode(grpc_response(), GRPC, INFER), http_wire.decode(http_response(), HTTP, INFER)],
    ids=["grpc", "http"],
)
def test_answers_become_arrays(response: InferResponse) -> None:
    """Contents from the answer, or from the shared memory of the output."""
    region = memoryview(np.array([5, 6, 7, 8], np.float32).tobytes())
    result = decode_response(response, "r1", {"q": region})
    assert result["x"].tolist() == [0, 1, 2, 3]
    assert result["q"].tolist() == [5, 6]
    assert (result.model, result.model_version, result.request_id) == ("m", "3", "r1")
    assert repr(result) == "<Result of m/3: x: float32 [4], q: float32 [2]>"


def test_answers_that_are_cut_off_are_recognised() -> None:
    """Less content than the shape asks for, or none where some is due."""
    message = grpc_response()
    del message.raw_output_contents[1:]
    with pytest.raises(UnexpectedAnswer, match="grpc://host:8001 answered, and not as Triton does"):
        grpc_wire.decode(message, GRPC, INFER)
    whole = http_response()
    cut = http_wire.HttpResponse(200, whole.headers, whole.body[:-1])
    with pytest.raises(UnexpectedAnswer, match="output 'x' of model 'm' came as FP32"):
        decode_response(http_wire.decode(cut, HTTP, INFER), "r1", {})


@pytest.mark.parametrize(
    ("status", "words", "kind", "sentence"),
    [
        ("NOT_FOUND", "Request for unknown model: 'm' is not found", ModelNotFound, "check the model's name"),
        ("NOT_FOUND", "Request for unknown model: 'm' has no available versions", ModelNotReady, "wait_ready"),
        ("UNAVAILABLE", "[request id: r1] Exceeds maximum queue size", ServerBusy, r"\(Exceeds maximum queue size\)"),
        ("UNAVAILABLE", "Request timeout expired", DeadlineExceeded, "waited in the queue of model 'm'"),
        ("UNAVAILABLE", "no healthy upstream", ServerUnavailable, "no healthy upstream"),
        ("INVALID_ARGUMENT", "[request id: r1] unexpected shape", InvalidInput, "refused the request: unexpected"),
        ("INTERNAL", "boom", InferenceFailed, "failed on model 'm': boom"),
        ("UNKNOWN", "", InferenceFailed, "it gave no reason"),
        ("NOT_FOUND", "Unable to find shared memory region: 'x'", SharedMemoryFailed, "Unable to find"),
        ("INTERNAL", "my shared memory region is not ready", InferenceFailed, "failed on model 'm': my shared"),
        ("UNAUTHENTICATED", "who are you", AccessDenied, "pass the credentials"),
        ("RESOURCE_EXHAUSTED", "rate limited", ServerBusy, "send less at once"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded, "within the deadline of 5 s"),
        ("CANCELLED", "Channel closed!", ClientClosed, "closed during the call"),
        ("CANCELLED", "CANCELLED", ConnectionLost, "went away"),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: …", ServerUnavailable, "cannot connect"),
        ("UNAVAILABLE", "errors resolving nosuch.invalid:1", ServerUnavailable, "cannot connect"),
        ("UNAVAILABLE", "Stream removed (Socket closed)", ConnectionLost, "whether it ran is unknown"),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer", ConnectionLost, "went away"),
        ("UNIMPLEMENTED", "unknown service inference.GRPCInferenceService", UnexpectedAnswer, "port of its HTTP"),
    ],
)
def test_grpc_statuses_become_typed_errors(status: str, words: str, kind: type[ClientError], sentence: str) -> None:
    """Triton's words and gRPC's own, of which only the words tell them apart."""
    rpc_error = SimpleNamespace(code=lambda: SimpleNamespace(name=status), details=lambda: words)
    error = grpc_wire.error_of(rpc_error, Deadline(5), GRPC, INFER)
    assert type(error) is kind
    assert (error.url, error.model, error.request_id) == ("grpc://host:8001", "m", "r1")
    with pytest.raises(kind, match=sentence):
        raise error


def streamed(**fields: Any) -> Any:
    """A message of a stream."""
    message = pb.ModelStreamInferResponse(**fields)
    if "infer_response" not in fields:
        message.infer_response.parameters["triton_final_response"].bool_param = True
    return message


def test_stream_asks_for_a_sign_after_the_last_response() -> None:
    """Else a stream that breaks off would look like one that is complete."""
    call = calls.InferStream(REQUEST)
    message = grpc_wire.METHODS[calls.InferStream].encode(call)
    assert message.parameters["triton_enable_empty_final_response"].bool_param
    assert list(message.raw_input_contents) == [DATA.tobytes()]
    end = grpc_wire.decode_part(streamed(), GRPC, call)
    assert (end.response, end.is_final) == (None, True)
    only = streamed(infer_response=grpc_response())
    only.infer_response.parameters["triton_final_response"].bool_param = True
    both = grpc_wire.decode_part(only, GRPC, call)
    assert both.response is not None
    assert (both.response.version, both.is_final) == ("3", True)
    empty = grpc_wire.decode_part(streamed(infer_response=pb.ModelInferResponse()), GRPC, call)
    assert (empty.response is not None, empty.is_final) == (True, False)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Request for unknown model: 'm' is not found", ModelNotFound),
        ("Request for unknown model: 'm' has no available versions", ModelNotReady),
        ("[request id: r1] Exceeds maximum queue size", ServerBusy),
        ("Request timeout expired", DeadlineExceeded),
        ("[request id: r1] expected number of inputs between 2 and 4 but got 0 inputs for model 'm'.", InvalidInput),
        ("[request id: r1] expected 1 inputs but got 0 inputs for model 'm'.", InvalidInput),
        ("[request id: r1] unexpected shape for input 'x' for model 'm'. Expected [1], got [2]. ", InvalidInput),
        ("[request id: r1] unexpected inference input 'z' for model 'm'", InvalidInput),
        ("[request id: r1] inference input 'x' data-type is 'INT32', but model 'm' expects 'FP32'", InvalidInput),
        ("[request id: r1] inference request batch-size must be <= 1 for 'm'", InvalidInput),
        ("inference request to model 'm' must specify a non-zero or non-empty correlation ID", InvalidInput),
        ("the prompt has 9000 tokens, expected number of tokens: 2048", InferenceFailed),
        ("boom", InferenceFailed),
    ],
)
def test_error_messages_in_a_stream_become_typed_errors(words: str, kind: type[ClientError]) -> None:
    """They come without a status: the same classes as from `infer`, by Triton's own words."""
    call = calls.InferStream(REQUEST)
    with pytest.raises(ClientError) as caught:
        grpc_wire.decode_part(streamed(error_message=words), GRPC, call)
    assert type(caught.value) is kind
    assert caught.value.request_id == "r1"


@pytest.mark.parametrize(
    "words",
    [
        "inference request for sequence 7 to model 'm' must specify the START flag on the first request of the "
        "sequence",
        "timeout of the corresponding sequence has been expired",
    ],
)
def test_forgotten_sequence_is_lost(words: str) -> None:
    """Over either protocol and in streams; a model's own words, and requests without a sequence, are none of it."""
    request = dataclasses.replace(REQUEST, sequence_id=7)
    body = json.dumps({"error": words}).encode()
    with pytest.raises(SequenceLost, match=r"does not know sequence 7 .*Start a new sequence"):
        http_wire.decode(http_wire.HttpResponse(400, {}, body), HTTP, calls.Infer(request))
    with pytest.raises(SequenceLost):
        grpc_wire.decode_part(streamed(error_message=words), GRPC, calls.InferStream(request))
    with pytest.raises(InferenceFailed):
        http_wire.decode(http_wire.HttpResponse(500, {}, body), HTTP, calls.Infer(request))
    with pytest.raises(InvalidInput):
        http_wire.decode(http_wire.HttpResponse(400, {}, body), HTTP, INFER)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"error":"Request for unknown model: \'m\' is not found"}', ModelNotFound),
        (404, b"<html>Not Found</html>", UnexpectedAnswer),
        (400, b'{"error":"unexpected shape"}', InvalidInput),
        (413, b"too large", InvalidInput),
        (401, b"", AccessDenied),
        (403, b"This API is restricted", AccessDenied),
        (429, b"", ServerBusy),
        (500, b'{"error":"boom"}', InferenceFailed),
        (503, b'{"error":"Exceeds maximum queue size"}', ServerBusy),
        (502, b"<html>Bad Gateway</html>", ServerUnavailable),
        (504, b"", DeadlineExceeded),
        (302, b"", UnexpectedAnswer),
        (200, b"<html>Welcome</html>", UnexpectedAnswer),
        (200, b"[]", UnexpectedAnswer),
        (200, b"{}", UnexpectedAnswer),
    ],
)
def test_http_statuses_become_typed_errors(status: int, body: bytes, kind: type[ClientError]) -> None:
    """Triton's and those of proxies before it."""
    with pytest.raises(kind) as caught:
        http_wire.decode(http_wire.HttpResponse(status, {}, body), HTTP, INFER)
    assert type(caught.value) is kind
    assert caught.value.url == "http://host:8000"


@pytest.mark.parametrize(("status", "answer"), [(200, True), (400, False), (404, False), (503, False)])
def test_http_questions_are_answered_by_the_status(status: int, answer: bool) -> None:
    """Not ready is an answer, no error."""
    assert http_wire.decode(http_wire.HttpResponse(status, {}, b""), HTTP, calls.ModelReady("m")) is answer


def test_names_in_paths_are_escaped_no_more_than_needed() -> None:
    """Triton does not unescape them, but a space would end the request line."""
    assert http_wire.encode(calls.GetMetadata("a@b+c"), {}).path == "/v2/models/a@b+c"
    assert http_wire.encode(calls.GetMetadata("a b/c?d"), {}).path == "/v2/models/a%20b%2Fc%3Fd"


def test_unknown_fields_of_a_newer_server_are_ignored() -> None:
    """A configuration with a field that this library has never heard of is read all the same."""
    body = b'{"name": "m", "max_batch_size": 4, "invented_later": {"x": 1}}'
    config = http_wire.decode(http_wire.HttpResponse(200, {}, body), HTTP, calls.GetConfig("m"))
    assert config.max_batch_size == 4
