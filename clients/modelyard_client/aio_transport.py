"""Network I/O of the async client: a transport for each server, over gRPC or HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import grpc
import grpc.aio
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from modelyard_client.calls import Call, InferStream
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import CANCEL_DELAY_S, CONNECT_TIMEOUT_S, Endpoint, Tls
from modelyard_client.errors import ClientClosed
from modelyard_client.result import StreamPart
from modelyard_client.wire import grpc as grpc_wire
from modelyard_client.wire import http as http_wire
from modelyard_client.wire.failures import connection_lost, never_connected, not_triton, too_late


class GrpcTransport:
    """A gRPC channel, opened in the event loop that uses it: one HTTP/2 connection carries all calls."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._credentials = grpc.ssl_channel_credentials(*(tls or Tls()).read()) if endpoint.is_secure else None
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._stream: Any = None
        self._closed = False

    async def perform(self, call: Call[Any], deadline: Deadline) -> Any:
        """Sends a call and answers with what the server says; raises the typed error for what went wrong."""
        self._connect()
        method = grpc_wire.METHODS[type(call)]
        message = method.encode(call)
        metadata = grpc_wire.encode_metadata(self._headers, call)
        try:
            answer = await getattr(self._stub, method.name)(message, timeout=deadline.left(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise grpc_wire.error_of(error, deadline, self._endpoint, call) from error
        except asyncio.CancelledError:
            if self._closed:
                # How grpc.aio tells a call that its channel was closed.
                raise ClientClosed("this client was closed during the call.") from None
            raise
        return grpc_wire.decode(answer, self._endpoint, call)

    def open(self, call: InferStream, deadline: Deadline) -> GrpcStream:
        """Sends a call that has any number of responses, without waiting for one."""
        self._connect()
        message = grpc_wire.METHODS[type(call)].encode(call)
        metadata = grpc_wire.encode_metadata(self._headers, call)
        rpc = self._stream(message, timeout=deadline.left(), metadata=metadata)
        return GrpcStream(rpc, self._endpoint, call, deadline, lambda: self._closed)

    def _connect(self) -> None:
        if self._channel is None:
            self._channel = self._new_channel()
            self._stub = GRPCInferenceServiceStub(self._channel)
            self._stream = grpc_wire.stream_method(self._channel)

    def _new_channel(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._endpoint.authority, grpc_wire.CHANNEL_OPTIONS)
        return grpc.aio.secure_channel(self._endpoint.authority, self._credentials, grpc_wire.CHANNEL_OPTIONS)

    async def close(self) -> None:
        """Ends the connections."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()


class GrpcStream:
    """A stream of responses; a message is taken off the network when it is asked for, not before."""

    def __init__(
        self, rpc: Any, endpoint: Endpoint, call: InferStream, deadline: Deadline, is_closed: Callable[[], bool]
    ) -> None:
        self._rpc = rpc
        self._endpoint = endpoint
        self._call = call
        self._deadline = deadline
        self._is_closed = is_closed

    async def receive(self) -> StreamPart | None:
        """Waits for the next message; None once the stream is over. Raises the typed error for what went wrong."""
        try:
            message = await self._rpc.read()
        except grpc.aio.AioRpcError as error:
            raise grpc_wire.error_of(error, self._deadline, self._endpoint, self._call) from error
        except asyncio.CancelledError:
            if self._is_closed():
                raise ClientClosed("this client was closed during the call.") from None
            raise
        return None if message is grpc.aio.EOF else grpc_wire.decode_part(message, self._endpoint, self._call)

    def cancel(self) -> None:
        """Tells the server to stop, without waiting for it; a moment later, so that what is ending may end."""
        if not self._rpc.done():
            asyncio.get_running_loop().call_later(CANCEL_DELAY_S, self._rpc.cancel)


class HttpTransport:
    """A session with its pool of connections, opened in the event loop that uses it."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._tls = (tls or Tls()).ssl_context() if endpoint.is_secure else None
        self._session: aiohttp.ClientSession | None = None

    async def perform(self, call: Call[Any], deadline: Deadline) -> Any:
        """Sends a call and answers with what the server says; raises the typed error for what went wrong."""
        request = http_wire.encode(call, self._headers)
        try:
            response = await self._exchange(request, deadline)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise never_connected(error, self._endpoint, call) from error
        except asyncio.TimeoutError as error:
            raise too_late(deadline, self._endpoint, call) from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise connection_lost(error, self._endpoint, call) from error
        except aiohttp.ClientError as error:
            raise not_triton(repr(error), self._endpoint, call) from error
        return http_wire.decode(response, self._endpoint, call)

    async def _exchange(self, request: http_wire.HttpRequest, deadline: Deadline) -> http_wire.HttpResponse:
        if self._session is None:
            self._session = self._open()
        # Whole seconds, to which aiohttp rounds long timeouts otherwise, are too coarse for a deadline.
        timeout = aiohttp.ClientTimeout(total=deadline.left(), sock_connect=CONNECT_TIMEOUT_S, ceil_threshold=1e9)
        url = f"{'https' if self._tls else 'http'}://{self._endpoint.authority}{self._endpoint.path}{request.path}"
        async with self._session.request(
            request.method,
            url,
            data=_parts(request) if request.body else None,
            headers=request.headers,
            timeout=timeout,
            allow_redirects=False,
        ) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return http_wire.HttpResponse(answer.status, headers, await answer.read())

    def _open(self) -> aiohttp.ClientSession:
        # Without a limit of its own: the caller bounds what is in flight, and the deadline how long it waits.
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Ends the connections."""
        if self._session is not None:
            await self._session.close()


async def _parts(request: http_wire.HttpRequest) -> AsyncIterator[bytes | memoryview]:
    """The body as it is: joined, large tensors would be copied once more."""
    for part in request.body:
        yield part
