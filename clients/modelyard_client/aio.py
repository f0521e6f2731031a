"""The async client: it does what the flows ask for, over the network that aio_transport.py reaches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from modelyard_client.aio_transport import GrpcStream, GrpcTransport, HttpTransport
from modelyard_client.endpoint import Endpoint, ProtocolName, Tls, checked_headers, parse_endpoints
from modelyard_client.errors import ClientClosed, ClientError
from modelyard_client.flow import Flow, Open, Pause, Receive, Step, resume
from modelyard_client.metadata import ModelMetadata
from modelyard_client.operations import Operations
from modelyard_client.request import InferOptions, Inputs, Parameter, checked_in_flight
from modelyard_client.result import Result
from modelyard_client.retry import RetryPolicy
from modelyard_client.sequences import AsyncInferenceSequence, Terms
from modelyard_client.shared_memory import AsyncSharedMemory
from modelyard_client.streams import StreamFlow

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
        self._transports: dict[Endpoint, GrpcTransport | HttpTransport] = {
            endpoint: (GrpcTransport if endpoint.is_grpc else HttpTransport)(endpoint, tls, sent_headers)
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

    def stream(
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
    ) -> AsyncGenerator[Result, None]:
        """Runs a model once and yields its responses as they come; arguments and errors are those of `Client.stream`.

        Cancelling the task that takes them cancels the request on the server, and so does closing the generator
        (`async with contextlib.aclosing(...)`).
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
        return self._streamed(self.operations.stream(model, inputs, options, deadline))

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

    def sequence(
        self,
        model: str,
        sequence_id: int | str | None = None,
        *,
        version: str = "",
        priority: int = 0,
        deadline: float | None = None,
    ) -> AsyncInferenceSequence:
        """As `Client.sequence`; use it in an `async with`."""
        return AsyncInferenceSequence(self, sequence_id, Terms(model, version, priority, deadline))

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
                step = resume(flow, await self._outcome(step))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
        finally:
            flow.close()

    async def _streamed(self, flow: StreamFlow) -> AsyncGenerator[Result, None]:
        """The same for a flow that yields results; where this is closed, so is the flow, which cancels the request."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Result):
                    yield step
                    step = next(flow)
                else:
                    step = resume(flow, await self._outcome(step))
        except StopIteration:
            return
        finally:
            flow.close()

    async def _outcome(self, step: Step) -> Any:
        """Does a step: its answer, or the ClientError that came instead."""
        try:
            return await self._do(step)
        except ClientError as error:
            return error

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        if self._closed:
            raise ClientClosed("this client is closed; make a new one, or do the calls inside of its `async with`.")
        if isinstance(step, Receive):
            return await cast(GrpcStream, step.stream).receive()
        transport = self._transports[step.endpoint]
        if isinstance(step, Open):
            return cast(GrpcTransport, transport).open(step.call, step.deadline)
        return await transport.perform(step.call, step.deadline)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
