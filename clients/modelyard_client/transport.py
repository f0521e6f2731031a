"""Network I/O of the blocking client: a transport for each server, over gRPC or HTTP."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

import grpc
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from modelyard_client.calls import Call, InferStream
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import CANCEL_DELAY_S, CONNECT_TIMEOUT_S, Endpoint, Tls
from modelyard_client.errors import ClientClosed
from modelyard_client.result import StreamPart
from modelyard_client.timed import response_until
from modelyard_client.wire import grpc as grpc_wire
from modelyard_client.wire import http as http_wire
from modelyard_client.wire.failures import connection_lost, never_connected, not_triton, too_late


class GrpcTransport:
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
        self._stream = grpc_wire.stream_method(self._channel)

    def perform(self, call: Call[Any], deadline: Deadline) -> Any:
        """Sends a call and answers with what the server says; raises the typed error for what went wrong."""
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

    def open(self, call: InferStream, deadline: Deadline) -> GrpcStream:
        """Sends a call that has any number of responses, without waiting for one."""
        message = grpc_wire.METHODS[type(call)].encode(call)
        metadata = grpc_wire.encode_metadata(self._headers, call)
        try:
            rpc = self._stream(message, timeout=deadline.left(), metadata=metadata)
        except ValueError as error:
            raise ClientClosed(f"this client was closed during the call ({error}).") from error
        return GrpcStream(rpc, self._endpoint, call, deadline)

    def close(self) -> None:
        """Ends the connections."""
        self._channel.close()


class GrpcStream:
    """A stream of responses; a message is taken off the network when it is asked for, not before."""

    def __init__(self, rpc: Any, endpoint: Endpoint, call: InferStream, deadline: Deadline) -> None:
        self._rpc = rpc
        self._endpoint = endpoint
        self._call = call
        self._deadline = deadline

    def receive(self) -> StreamPart | None:
        """Waits for the next message; None once the stream is over. Raises the typed error for what went wrong."""
        try:
            message = next(self._rpc, None)
        except grpc.RpcError as error:
            raise grpc_wire.error_of(error, self._deadline, self._endpoint, self._call) from error
        return None if message is None else grpc_wire.decode_part(message, self._endpoint, self._call)

    def cancel(self) -> None:
        """Tells the server to stop, without waiting for it; a moment later, so that what is ending may end."""
        if not self._rpc.done():
            timer = threading.Timer(CANCEL_DELAY_S, self._rpc.cancel)
            timer.daemon = True
            timer.start()


class HttpTransport:
    """A pool of HTTP/1.1 connections: a call has one for itself, and leaves it to the next."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._tls = (tls or Tls()).ssl_context() if endpoint.is_secure else None
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def perform(self, call: Call[Any], deadline: Deadline) -> Any:
        """Sends a call and answers with what the server says; raises the typed error for what went wrong."""
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
        """Ends the connections."""
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
