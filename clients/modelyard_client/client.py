"""The blocking client, and the only place where it touches the network."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from modelyard_client.calls import Call
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import (
    CONNECT_TIMEOUT_S,
    Endpoint,
    ProtocolName,
    Tls,
    checked_headers,
    parse_endpoints,
)
from modelyard_client.errors import ClientClosed, ClientError
from modelyard_client.flow import Flow, Pause, Send
from modelyard_client.metadata import ModelMetadata
from modelyard_client.operations import Operations
from modelyard_client.request import InferOptions, Inputs, Parameter, checked_in_flight
from modelyard_client.result import Result
from modelyard_client.retry import RetryPolicy
from modelyard_client.shared_memory import SharedMemory
from modelyard_client.timed import response_until
from modelyard_client.wire import grpc as grpc_wire
from modelyard_client.wire import http as http_wire
from modelyard_client.wire.failures import connection_lost, never_connected, not_triton, too_late

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class Client:
    """Calls models on one Triton server or several; safe to use from many threads at once.

    Args:
        url: `grpc://`, `grpcs://`, `http://` or `https://` with host and port, or several of them, between which calls
            are balanced. Without a scheme, `protocol` decides.
        protocol: "grpc" (where None) or "http", for URLs without a scheme.
        deadline: Seconds that a call may take, retries included, where it does not say.
        retry: When a failed call is sent again.
        tls: Certificates for grpcs:// and https://.
        headers: Sent with every call, for example for authorization.

    Raises:
        InvalidInput: An argument makes no sense.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        protocol: ProtocolName | None = None,
        *,
        deadline: float = 60.0,
        retry: RetryPolicy | None = None,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        endpoints = parse_endpoints(url, protocol)
        self.operations = Operations(endpoints, deadline, retry or RetryPolicy())
        sent_headers = checked_headers(headers)
        self._transports: dict[Endpoint, _GrpcTransport | _HttpTransport] = {
            endpoint: (_GrpcTransport if endpoint.is_grpc else _HttpTransport)(endpoint, tls, sent_headers)
            for endpoint in endpoints
        }
        self._closed = False

    def infer(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: str = "",
        outputs: Sequence[str] | None = None,
        class_count: Mapping[str, int] | None = None,
        deadline: float | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        priority: int = 0,
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
    ) -> Result:
        """Runs a model once.

        Args:
            model: Its name.
            inputs: Input name -> numpy array of exactly the model's dtype and shape, with the batch dimension where the
                model batches. BYTES inputs also take (nested) lists of `str` and `bytes`; BF16 inputs take uint16 bits.
            version: A version of the model; "" leaves the choice to the server.
            outputs: The outputs to return; None returns all.
            class_count: Output name -> k: returns the output's k highest values as BYTES `b"value:index:label"`, the
                value with 6 decimals (Triton's classification extension).
            deadline: Seconds that the call may take, retries included; None takes the client's. Triton is told as well:
                it gives the request up that is still queued then, where the model's queue policy lets requests say so.
            request_id: Stands in the server's log and traces; a random one where None.
            traceparent: W3C Trace Context, passed on as the header of that name.
            parameters: Custom parameters for the model.
            priority: The request's priority level where the model has such; 0 takes the model's default.
            sequence_id: The sequence that the request belongs to, for models that keep state. Never sent twice.
            sequence_start: Whether it is the sequence's first.
            sequence_end: Whether it is the sequence's last.

        Returns:
            The outputs by name, with the version that answered and the request's id.

        Raises:
            InvalidInput: The inputs contradict the model; where this client found it, nothing was sent.
            ServerUnavailable: No server took the request (ServerBusy), or it went away in the middle (ConnectionLost).
            DeadlineExceeded: The time was up first.
            ModelNotFound: No server has such a model or version.
            ModelNotReady: The model is not loaded now.
            InferenceFailed: The model failed on the request.
            ClientError: Every other failure; `modelyard_client.errors` draws the tree.
        """
        options = InferOptions(
            version=version,
            outputs=outputs,
            class_count=class_count or {},
            request_id=request_id,
            traceparent=traceparent,
            parameters=parameters or {},
            priority=priority,
            sequence_id=sequence_id,
            sequence_start=sequence_start,
            sequence_end=sequence_end,
        )
        return self.run(self.operations.infer(model, inputs, options, deadline))

    def infer_many(
        self, model: str, requests: Iterable[Inputs], *, in_flight: int = 8, **arguments: Any
    ) -> Iterator[Result]:
        """Runs a model once for each of `requests`, with several in flight, and yields the results in their order.

        Args:
            model: Its name.
            requests: The inputs of each request; taken one at a time, as results are taken.
            in_flight: How many requests may be under way at once.
            **arguments: As for `infer`, for every request.

        Raises:
            ClientError: The first failure; what has not been sent by then is not sent any more.
        """
        pool = ThreadPoolExecutor(checked_in_flight(in_flight), thread_name_prefix="modelyard-infer")
        return _in_order(pool, partial(self.infer, model, **arguments), requests, in_flight)

    def shared_memory(
        self,
        model: str,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, Sequence[int]] | None = None,
        *,
        version: str = "",
    ) -> SharedMemory:
        """Opens a system shared-memory region for large tensors of a model on this machine; use it in a `with`.

        Args:
            model: Its name.
            inputs: Input name -> shape; the dtype is the model's.
            outputs: Output name -> shape, the largest that will come. None takes every output whose size the metadata
                gives; the others, and BYTES, come over the network.
            version: A version of the model; "" leaves the choice to the server.
        """
        return SharedMemory(self, model, inputs, outputs, version)

    def metadata(self, model: str, version: str = "", *, deadline: float | None = None) -> ModelMetadata:
        """The model's versions, inputs and outputs, as the server gives them now."""
        return self.run(self.operations.metadata(model, version, deadline))

    def config(self, model: str, version: str = "", *, deadline: float | None = None) -> Any:
        """The model's configuration as the server gives it now: a `tritonclient.grpc.model_config_pb2.ModelConfig`."""
        return self.run(self.operations.config(model, version, deadline))

    def server_live(self) -> bool:
        """Whether a server answers at all."""
        return self.run(self.operations.server_live())

    def wait_ready(self, model: str | None = None, version: str = "", *, timeout: float = 60.0) -> None:
        """Waits until a server says that all its models, or the one named, are ready.

        Raises:
            ServerUnavailable: No server answered in `timeout` seconds.
            ModelNotReady: One answered, and the model did not become ready.
        """
        self.run(self.operations.wait_ready(model, version, timeout))

    def close(self) -> None:
        """Ends the connections; a call that is under way may still end, or fails with ClientClosed."""
        if self._closed:
            return
        self.run(self.operations.release_regions())
        self._closed = True
        for transport in self._transports.values():
            transport.close()

    def run(self, flow: Flow[T]) -> T:
        """Does what a flow of `operations` asks for, until it returns."""
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._do(step)
                except ClientError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
        finally:
            flow.close()

    def _do(self, step: Send | Pause) -> Any:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        if self._closed:
            raise ClientClosed("this client is closed; make a new one, or do the calls inside of its `with`.")
        return self._transports[step.endpoint].perform(step.call, step.deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _in_order(
    pool: ThreadPoolExecutor, infer: Callable[[Inputs], Result], requests: Iterable[Inputs], in_flight: int
) -> Iterator[Result]:
    window: deque[Future[Result]] = deque()
    try:
        for inputs in requests:
            if len(window) == in_flight:
                yield window.popleft().result()
            window.append(pool.submit(infer, inputs))
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _GrpcTransport:
    """A gRPC channel: one HTTP/2 connection carries all calls."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = headers
        if endpoint.is_secure:
            credentials = grpc.ssl_channel_credentials(*(tls or Tls()).read())
            self._channel = grpc.secure_channel(endpoint.authority, credentials, grpc_wire.CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(endpoint.authority, grpc_wire.CHANNEL_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)

    def perform(self, call: Call[Any], deadline: Deadline) -> Any:
        method = grpc_wire.METHODS[type(call)]
        message = method.encode(call)
        metadata = grpc_wire.encode_metadata(self._headers, call)
        try:
            answer = getattr(self._stub, method.name)(message, timeout=deadline.left(), metadata=metadata)
        except grpc.RpcError as error:
            raise grpc_wire.error_of(error, deadline, self._endpoint, call) from error
        except ValueError as error:
            # How grpc says that another thread has closed the channel.
            raise ClientClosed(f"this client was closed during the call ({error}).") from error
        return grpc_wire.decode(answer, self._endpoint, call)

    def close(self) -> None:
        self._channel.close()


class _HttpTransport:
    """A pool of HTTP/1.1 connections: a call has one for itself, and leaves it to the next."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._tls = (tls or Tls()).ssl_context() if endpoint.is_secure else None
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def perform(self, call: Call[Any], deadline: Deadline) -> Any:
        request = http_wire.encode(call, self._headers)
        connection = self._connection(call, deadline)
        try:
            response = self._exchange(connection, request, deadline)
        except TimeoutError as error:
            raise too_late(deadline, self._endpoint, call) from error
        except (ConnectionError, ssl.SSLError, http.client.IncompleteRead) as error:
            raise connection_lost(error, self._endpoint, call) from error
        except (OSError, http.client.HTTPException) as error:
            raise not_triton(repr(error), self._endpoint, call) from error
        return http_wire.decode(response, self._endpoint, call)

    def _connection(self, call: Call[Any], deadline: Deadline) -> http.client.HTTPConnection:
        while (connection := self._pop_idle()) is not None:
            if not _has_ended(connection.sock):
                return connection
            connection.close()
        connection = self._new_connection(min(CONNECT_TIMEOUT_S, max(deadline.left(), 0.001)))
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            if deadline.left() <= 0:
                raise too_late(deadline, self._endpoint, call) from error
            raise never_connected(error, self._endpoint, call) from error
        return connection

    def _pop_idle(self) -> http.client.HTTPConnection | None:
        with self._lock:
            # The one used last is the least likely to have been closed by the server.
            return self._idle.pop() if self._idle else None

    def _new_connection(self, timeout: float) -> http.client.HTTPConnection:
        host, port = self._endpoint.host, self._endpoint.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls)

    def _exchange(
        self, connection: http.client.HTTPConnection, request: http_wire.HttpRequest, deadline: Deadline
    ) -> http_wire.HttpResponse:
        """Sends a request and reads the answer; a connection that fails in between is closed, not used again."""
        finished = False
        try:
            connection.sock.settimeout(max(deadline.left(), 0.001))
            connection.putrequest(request.method, self._endpoint.path + request.path, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            for part in request.body:
                connection.send(part)
            connection.response_class = partial(response_until, deadline)  # type: ignore[assignment]  # called as it is
            with connection.getresponse() as answer:
                body = answer.read()
                finished = not answer.will_close
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return http_wire.HttpResponse(answer.status, headers, body)
        finally:
            self._give_back(connection) if finished else connection.close()

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.close()


def _has_ended(idle: socket.socket) -> bool:
    """Whether the server has closed a connection on which nothing is awaited: then its end is there to be read."""
    poll = select.poll()
    poll.register(idle, select.POLLIN)
    return bool(poll.poll(0))
