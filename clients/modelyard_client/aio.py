"""The async client, and the only place where it touches the network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import grpc
import grpc.aio
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
from modelyard_client.shared_memory import AsyncSharedMemory
from modelyard_client.wire import grpc as grpc_wire
from modelyard_client.wire import http as http_wire
from modelyard_client.wire.failures import connection_lost, never_connected, not_triton, too_late

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class AsyncClient:
    """`modelyard_client.Client` for asyncio: the same arguments, methods and errors, with `await`.

    It belongs to the event loop that it is first used in.

    Args:
        url: As for `Client`.
        protocol: As for `Client`.
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

    async def infer(
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
        """Runs a model once; arguments, result and errors are those of `Client.infer`."""
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
        return await self.run(self.operations.infer(model, inputs, options, deadline))

    async def infer_many(
        self, model: str, requests: Iterable[Inputs], *, in_flight: int = 8, **arguments: Any
    ) -> AsyncIterator[Result]:
        """Runs a model once for each of `requests`; arguments, order and errors are those of `Client.infer_many`."""
        checked_in_flight(in_flight)
        window: deque[asyncio.Task[Result]] = deque()
        try:
            for inputs in requests:
                if len(window) == in_flight:
                    yield await window.popleft()
                window.append(asyncio.create_task(self.infer(model, inputs, **arguments)))
            while window:
                yield await window.popleft()
        finally:
            for task in window:
                task.cancel()
            await asyncio.gather(*window, return_exceptions=True)

    def shared_memory(
        self,
        model: str,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, Sequence[int]] | None = None,
        *,
        version: str = "",
    ) -> AsyncSharedMemory:
        """As `Client.shared_memory`; use it in an `async with`."""
        return AsyncSharedMemory(self, model, inputs, outputs, version)

    async def metadata(self, model: str, version: str = "", *, deadline: float | None = None) -> ModelMetadata:
        """The model's versions, inputs and outputs, as the server gives them now."""
        return await self.run(self.operations.metadata(model, version, deadline))

    async def config(self, model: str, version: str = "", *, deadline: float | None = None) -> Any:
        """The model's configuration as the server gives it now: a `tritonclient.grpc.model_config_pb2.ModelConfig`."""
        return await self.run(self.operations.config(model, version, deadline))

    async def server_live(self) -> bool:
        """Whether a server answers at all."""
        return await self.run(self.operations.server_live())

    async def wait_ready(self, model: str | None = None, version: str = "", *, timeout: float = 60.0) -> None:
        """As `Client.wait_ready`."""
        await self.run(self.operations.wait_ready(model, version, timeout))

    async def close(self) -> None:
        """Ends the connections; a call that is under way may still end, or fails with ClientClosed."""
        if self._closed:
            return
        await self.run(self.operations.release_regions())
        self._closed = True
        for transport in self._transports.values():
            await transport.close()

    async def run(self, flow: Flow[T]) -> T:
        """Does what a flow of `operations` asks for, until it returns."""
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._do(step)
                except ClientError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
        finally:
            flow.close()

    async def _do(self, step: Send | Pause) -> Any:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        if self._closed:
            raise ClientClosed("this client is closed; make a new one, or do the calls inside of its `async with`.")
        return await self._transports[step.endpoint].perform(step.call, step.deadline)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _GrpcTransport:
    """A gRPC channel, opened in the event loop that uses it: one HTTP/2 connection carries all calls."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._credentials = grpc.ssl_channel_credentials(*(tls or Tls()).read()) if endpoint.is_secure else None
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._closed = False

    async def perform(self, call: Call[Any], deadline: Deadline) -> Any:
        if self._channel is None:
            self._channel = self._open()
            self._stub = GRPCInferenceServiceStub(self._channel)
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

    def _open(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._endpoint.authority, grpc_wire.CHANNEL_OPTIONS)
        return grpc.aio.secure_channel(self._endpoint.authority, self._credentials, grpc_wire.CHANNEL_OPTIONS)

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            await self._channel.close()


class _HttpTransport:
    """A session with its pool of connections, opened in the event loop that uses it."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._tls = (tls or Tls()).ssl_context() if endpoint.is_secure else None
        self._session: aiohttp.ClientSession | None = None

    async def perform(self, call: Call[Any], deadline: Deadline) -> Any:
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
        if self._session is not None:
            await self._session.close()


async def _parts(request: http_wire.HttpRequest) -> AsyncIterator[bytes | memoryview]:
    """The body as it is: joined, large tensors would be copied once more."""
    for part in request.body:
        yield part
