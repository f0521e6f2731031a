"""Triton's HTTP protocol (KServe v2 with Triton's binary tensor data extension), without sending."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2

from modelyard_client import calls
from modelyard_client.calls import Call
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import ClientError
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.request import InputTensor, Parameter, RequestedOutput
from modelyard_client.result import InferResponse, OutputTensor
from modelyard_client.wire.failures import not_triton, refused

# Where the JSON ends and the tensors begin; in requests and in answers.
JSON_SIZE_HEADER = "inference-header-content-length"

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True)
class HttpRequest:
    """A request: the path without the endpoint's prefix, the body in parts that need not be joined."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: tuple[bytes | memoryview, ...] = ()


@dataclass(frozen=True)
class HttpResponse:
    """An answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Route:
    """How a call becomes a request, and its answer a value.

    Attributes:
        encode: Call -> request.
        decode: Answer of status 200 -> value.
        yes_or_no: The status itself is the answer.
    """

    encode: Callable[[Any], HttpRequest]
    decode: Callable[[HttpResponse], Any]
    yes_or_no: bool = False


def encode(call: Call[Any], headers: Mapping[str, str]) -> HttpRequest:
    """The request of a call; `headers` are the client's, which go with every call."""
    request = ROUTES[type(call)].encode(call)
    size = sum(len(part) for part in request.body)
    length = {"content-length": str(size)} if request.method == "POST" else {}
    return HttpRequest(request.method, request.path, {**headers, **request.headers, **length}, request.body)


def decode(response: HttpResponse, endpoint: Endpoint, call: Call[Any]) -> Any:
    """The answer to a call.

    Raises:
        ClientError: The typed error for an answer that says no, or that is not Triton's.
    """
    route = ROUTES[type(call)]
    if route.yes_or_no and response.status in (400, 404, 503):
        return False
    if response.status != 200:
        raise _error_of(response, endpoint, call)
    try:
        return route.decode(response)
    except (ValueError, KeyError, TypeError, AttributeError, json_format.ParseError) as error:
        raise not_triton(f"{type(error).__name__}: {error}", endpoint, call) from error


def _error_of(response: HttpResponse, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    words = _error_words(response.body)
    if response.status < 400 or (words is None and response.status in (404, 405)):
        return not_triton(f"HTTP status {response.status}", endpoint, call)
    status = _STATUSES.get(response.status, "INTERNAL")
    return refused(status, words or f"HTTP status {response.status}", endpoint, call)


def _error_words(body: bytes) -> str | None:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return None


def _encode_infer(call: calls.Infer) -> HttpRequest:
    request = call.request
    header: dict[str, Any] = {
        "id": request.request_id,
        "parameters": dict(request.parameters),
        "inputs": [_describe_input(tensor) for tensor in request.inputs],
    }
    if request.outputs:
        header["outputs"] = [_describe_output(output) for output in request.outputs]
    else:
        header["parameters"]["binary_data_output"] = True
    described = json.dumps(header, separators=(",", ":")).encode()
    headers = {"content-type": "application/octet-stream", JSON_SIZE_HEADER: str(len(described))}
    if request.traceparent:
        headers["traceparent"] = request.traceparent
    contents = tuple(tensor.data for tensor in request.inputs if tensor.data is not None)
    return HttpRequest("POST", _model_path(request.model, request.version, "/infer"), headers, (described, *contents))


def _describe_input(tensor: InputTensor) -> dict[str, Any]:
    where = tensor.shared.parameters if tensor.data is None and tensor.shared else {"binary_data_size": _size(tensor)}
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "parameters": where}


def _size(tensor: InputTensor) -> int:
    return 0 if tensor.data is None else tensor.data.nbytes


def _describe_output(output: RequestedOutput) -> dict[str, Any]:
    binary: dict[str, Parameter] = {} if output.shared else {"binary_data": True}
    return {"name": output.name, "parameters": {**binary, **output.parameters}}


def _decode_infer(response: HttpResponse) -> InferResponse:
    size = int(response.headers.get(JSON_SIZE_HEADER, len(response.body)))
    answer = json.loads(response.body[:size])
    contents = memoryview(response.body)[size:]
    outputs = []
    for output in answer.get("outputs", []):
        # An output in shared memory has no content here.
        taken = output.get("parameters", {}).get("binary_data_size", 0)
        outputs.append(OutputTensor(output["name"], output["datatype"], tuple(output["shape"]), contents[:taken]))
        contents = contents[taken:]
    return InferResponse(answer["model_name"], answer["model_version"], answer.get("id", ""), tuple(outputs))


def _decode_metadata(response: HttpResponse) -> ModelMetadata:
    answer = json.loads(response.body)
    return ModelMetadata(
        name=answer["name"],
        versions=tuple(answer["versions"]),
        platform=answer["platform"],
        inputs=_specs(answer["inputs"]),
        outputs=_specs(answer["outputs"]),
    )


def _specs(tensors: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor["name"], tensor["datatype"], tuple(tensor["shape"])) for tensor in tensors)


def _decode_config(response: HttpResponse) -> Any:
    # A newer server may know fields that this protobuf definition does not.
    return json_format.Parse(response.body, model_config_pb2.ModelConfig(), ignore_unknown_fields=True)


def _model_path(model: str, version: str, action: str = "") -> str:
    # Triton takes the path as it stands, so nothing is escaped that HTTP allows there (RFC 3986, pchar).
    name = quote(model, safe="!$&'()*+,;=:@")
    return f"/v2/models/{name}{f'/versions/{version}' if version else ''}{action}"


def _region(call: calls.RegisterRegion | calls.UnregisterRegion, action: str) -> str:
    return f"/v2/systemsharedmemory/region/{call.name}/{action}"


def _encode_register(call: calls.RegisterRegion) -> HttpRequest:
    body = json.dumps({"key": call.key, "offset": 0, "byte_size": call.size}).encode()
    return HttpRequest("POST", _region(call, "register"), {"content-type": "application/json"}, (body,))


def _encode_unregister(call: calls.UnregisterRegion) -> HttpRequest:
    return HttpRequest("POST", _region(call, "unregister"), {"content-type": "application/json"}, (b"",))


def _yes(_: HttpResponse) -> bool:
    return True


def _nothing(_: HttpResponse) -> None:
    return None


ROUTES: dict[type[Call[Any]], Route] = {
    calls.ServerLive: Route(lambda _: HttpRequest("GET", "/v2/health/live"), _yes, yes_or_no=True),
    calls.ServerReady: Route(lambda _: HttpRequest("GET", "/v2/health/ready"), _yes, yes_or_no=True),
    calls.ModelReady: Route(
        lambda call: HttpRequest("GET", _model_path(call.name, call.version, "/ready")), _yes, yes_or_no=True
    ),
    calls.GetMetadata: Route(lambda call: HttpRequest("GET", _model_path(call.name, call.version)), _decode_metadata),
    calls.GetConfig: Route(
        lambda call: HttpRequest("GET", _model_path(call.name, call.version, "/config")), _decode_config
    ),
    calls.Infer: Route(_encode_infer, _decode_infer),
    calls.RegisterRegion: Route(_encode_register, _nothing),
    calls.UnregisterRegion: Route(_encode_unregister, _nothing),
}
