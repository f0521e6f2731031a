"""Triton's gRPC protocol (`grpc_service.proto`), without sending: calls to messages, messages to answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from modelyard_client import calls
from modelyard_client.calls import Call
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import CONNECT_TIMEOUT_S, Endpoint
from modelyard_client.errors import ClientClosed, ClientError, InvalidInput
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.request import InferRequest, Parameter
from modelyard_client.result import InferResponse, OutputTensor, StreamPart
from modelyard_client.wire.failures import (
    connection_lost,
    failed,
    never_connected,
    not_triton,
    refused,
    refused_in_stream,
    too_late,
)

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # One place decides about retries: flow.py, which knows what is safe.
    ("grpc.enable_retries", 0),
    # The URL says where the server is; a proxy of the environment (http_proxy) would be asked for it instead.
    ("grpc.enable_http_proxy", 0),
    # Clients do not share connections, nor how long to wait after a failed one.
    ("grpc.use_local_subchannel_pool", 1),
    # A connection that failed is tried again sooner than the default policy has ended its retries (0.35 s): else a
    # server that is back would go unnoticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    # In spite of its name, how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_TIMEOUT_S * 1000)),
)

# One request, many responses: on the wire no other than the declared method, of which it uses the half it needs. That
# saves a thread, or a task, that sends requests for each stream.
STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"

# A protobuf message is smaller than 2 GiB; the rest is room for names and shapes.
MAX_CONTENT_BYTES = 2**31 - 2**20

# gRPC gives every broken connection the status UNAVAILABLE, which servers send too; only its own words tell them apart.
_NEVER_CONNECTED = re.compile(r"failed to connect|errors? resolving|DNS resolution|name resolution", re.IGNORECASE)
_LOST = re.compile(
    r"stream removed|socket closed|connection (reset|closed|timed out|aborted)|broken pipe|goaway|recvmsg|sendmsg"
    r"|keepalive|ping timeout|transport",
    re.IGNORECASE,
)
_NOT_TRITON = re.compile(r"unknown service|method not found|unknown method|Received http2 header", re.IGNORECASE)


@dataclass(frozen=True)
class Method:
    """A method of GRPCInferenceService: its name, how a call becomes its message, and its answer a value."""

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def encode_infer(request: InferRequest) -> Any:
    """The `ModelInferRequest` of a request.

    Raises:
        InvalidInput: The inputs are larger than a gRPC message may be.
    """
    size = sum(tensor.data.nbytes for tensor in request.inputs if tensor.data is not None)
    if size > MAX_CONTENT_BYTES:
        raise InvalidInput(
            f"the inputs of model '{request.model}' have {size / 2**30:.2f} GiB, gRPC carries less than 2: "
            "use Client.shared_memory on the server's machine, HTTP, or a smaller batch.",
            model=request.model,
            request_id=request.request_id,
        )
    message = pb.ModelInferRequest(model_name=request.model, model_version=request.version, id=request.request_id)
    for tensor in request.inputs:
        described = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if tensor.data is not None:
            message.raw_input_contents.append(tensor.data.tobytes())
        if tensor.shared is not None:
            _set_parameters(described.parameters, tensor.shared.parameters)
    for output in request.outputs:
        _set_parameters(message.outputs.add(name=output.name).parameters, output.parameters)
    _set_parameters(message.parameters, request.parameters)
    return message


def _set_parameters(target: Any, parameters: Mapping[str, Parameter]) -> None:
    for name, value in parameters.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            # Triton's one unsigned parameter.
            setattr(target[name], "uint64_param" if name == "priority" else "int64_param", value)
        elif isinstance(value, float):
            target[name].double_param = value
        else:
            target[name].string_param = value


def _decode_infer(message: Any) -> InferResponse:
    """The answer in a `ModelInferResponse`."""
    # An output in shared memory has an empty content here, so the two lists go together.
    outputs = tuple(
        OutputTensor(output.name, output.datatype, tuple(output.shape), content)
        for output, content in zip(message.outputs, message.raw_output_contents, strict=True)
    )
    return InferResponse(message.model_name, message.model_version, message.id, outputs)


def _encode_stream(request: InferRequest) -> Any:
    """The same, asking for a sign after the last response: a stream that breaks off is not taken for a whole one."""
    message = encode_infer(request)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    return message


def stream_method(channel: Any) -> Any:
    """What starts a stream on a channel of either kind: message -> call."""
    return channel.unary_stream(
        STREAM_METHOD,
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )


def decode_part(message: Any, endpoint: Endpoint, call: Call[Any]) -> StreamPart:
    """What a `ModelStreamInferResponse` says.

    Raises:
        ClientError: The typed error for an error message.
    """
    if message.error_message:
        raise refused_in_stream(message.error_message, endpoint, call)
    answer = message.infer_response
    is_final = answer.parameters["triton_final_response"].bool_param
    # The sign that ends a decoupled stream has no outputs.
    response = decode(answer, endpoint, call) if answer.outputs or not is_final else None
    return StreamPart(response, is_final)


def decode(message: Any, endpoint: Endpoint, call: Call[Any]) -> Any:
    """The answer to a call.

    Raises:
        UnexpectedAnswer: The message is not one that Triton sends.
    """
    try:
        return METHODS[type(call)].decode(message)
    except ValueError as error:
        raise not_triton(f"{type(error).__name__}: {error}", endpoint, call) from error


def _decode_metadata(message: Any) -> ModelMetadata:
    return ModelMetadata(
        name=message.name,
        versions=tuple(message.versions),
        platform=message.platform,
        inputs=_specs(message.inputs),
        outputs=_specs(message.outputs),
    )


def _specs(tensors: Iterable[Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


METHODS: dict[type[Call[Any]], Method] = {
    calls.ServerLive: Method("ServerLive", lambda _: pb.ServerLiveRequest(), lambda answer: answer.live),
    calls.ServerReady: Method("ServerReady", lambda _: pb.ServerReadyRequest(), lambda answer: answer.ready),
    calls.ModelReady: Method(
        "ModelReady",
        lambda call: pb.ModelReadyRequest(name=call.name, version=call.version),
        lambda answer: answer.ready,
    ),
    calls.GetMetadata: Method(
        "ModelMetadata",
        lambda call: pb.ModelMetadataRequest(name=call.name, version=call.version),
        _decode_metadata,
    ),
    calls.GetConfig: Method(
        "ModelConfig",
        lambda call: pb.ModelConfigRequest(name=call.name, version=call.version),
        lambda answer: answer.config,
    ),
    calls.Infer: Method("ModelInfer", lambda call: encode_infer(call.request), _decode_infer),
    calls.InferStream: Method("ModelStreamInfer", lambda call: _encode_stream(call.request), _decode_infer),
    calls.RegisterRegion: Method(
        "SystemSharedMemoryRegister",
        lambda call: pb.SystemSharedMemoryRegisterRequest(name=call.name, key=call.key, byte_size=call.size),
        lambda _: None,
    ),
    calls.UnregisterRegion: Method(
        "SystemSharedMemoryUnregister",
        lambda call: pb.SystemSharedMemoryUnregisterRequest(name=call.name),
        lambda _: None,
    ),
}


def encode_metadata(headers: Mapping[str, str], call: Call[Any]) -> list[tuple[str, str]]:
    """The metadata that goes with a call: the client's headers and the request's `traceparent`."""
    metadata = list(headers.items())
    if isinstance(call, calls.Infer) and call.request.traceparent:
        metadata.append(("traceparent", call.request.traceparent))
    return metadata


def error_of(error: Any, deadline: Deadline, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """The typed error for a failed RPC, a `grpc.RpcError` of either kind of channel."""
    status, words = error.code().name, error.details() or ""
    if status == "DEADLINE_EXCEEDED":
        return too_late(deadline, endpoint, call)
    if status == "CANCELLED" and "hannel closed" in words:
        return failed(ClientClosed, f"this client was closed during the call ({words}).", endpoint, call)
    if status == "UNAVAILABLE" and _NEVER_CONNECTED.search(words):
        return never_connected(words, endpoint, call)
    # A server that ends cancels what it still holds.
    if status == "CANCELLED" or (status == "UNAVAILABLE" and _LOST.search(words)):
        return connection_lost(words, endpoint, call)
    if _NOT_TRITON.search(words):
        return not_triton(words, endpoint, call)
    return refused(status, words, endpoint, call)
