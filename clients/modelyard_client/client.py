"""The blocking client: it does what the flows ask for, over the network that transport.py reaches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from modelyard_client.endpoint import Endpoint, ProtocolName, Tls, checked_headers, parse_endpoints
from modelyard_client.errors import ClientClosed, ClientError
from modelyard_client.flow import Flow, Open, Pause, Receive, Step, resume
from modelyard_client.metadata import ModelMetadata
from modelyard_client.operations import Operations
from modelyard_client.request import InferOptions, Inputs, Parameter, checked_in_flight
from modelyard_client.result import Result
from modelyard_client.retry import RetryPolicy
from modelyard_client.sequences import InferenceSequence, Terms
from modelyard_client.shared_memory import SharedMemory
from modelyard_client.streams import StreamFlow
from modelyard_client.transport import GrpcStream, GrpcTransport, HttpTransport

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
        self._transports: dict[Endpoint, GrpcTransport | HttpTransport] = {
            endpoint: (GrpcTransport if endpoint.is_grpc else HttpTransport)(endpoint, tls, sent_headers)
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
    ) -> Generator[Result, None, None]:
        """Runs a model once and yields its responses as they come: none, one or many where the model is decoupled.

        The request is sent when the first response is asked for. It is cancelled on the server when the generator is
        closed (at the end of `with contextlib.closing(...)`, or when nothing refers to it any more), when its loop is
        left by an exception, and when the client is closed. A response is taken off the network when it is asked for:
        a slow reader slows the stream down, it does not fill this process's memory.

        Args:
            model: Its name.
            inputs: As for `infer`.
            version: As for `infer`, like all that follow.
            outputs: The outputs to return.
            class_count: Output name -> k.
            deadline: Seconds until the last response; None takes the client's.
            request_id: Stands in the server's log and traces.
            traceparent: W3C Trace Context.
            parameters: Custom parameters for the model.
            priority: The request's priority level.
            sequence_id: The sequence that the request belongs to.
            sequence_start: Whether it is the sequence's first.
            sequence_end: Whether it is the sequence's last.

        Raises:
            InvalidInput: No server of this client speaks gRPC, or as for `infer`.
            ConnectionLost: The server went away; says how many responses had come. Only before the first one is the
                request sent again, where `infer` would do so.
            ClientError: As for `infer`, where it occurs in the stream.
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

    def sequence(
        self,
        model: str,
        sequence_id: int | str | None = None,
        *,
        version: str = "",
        priority: int = 0,
        deadline: float | None = None,
    ) -> InferenceSequence:
        """Makes a sequence of requests to a model that keeps state between them; use it in a `with`.

        Its first request tells the server to start, the one with `end=True` to free the state. A sequence that is left
        without that is freed by the server once it was idle for the model's max_sequence_idle_microseconds: nothing is
        sent at the end of the `with`, for a request needs inputs.

        Args:
            model: Its name.
            sequence_id: What the server is to know it by, unique among all clients of the server: a start under an id
                that runs takes the state away from its owner. None takes a random one. All requests of a sequence go
                to one server, which the id decides.
            version: A version of the model; "" leaves the choice to the server.
            priority: The priority level of its requests where the model has such.
            deadline: Seconds that each request may take; None takes the client's.

        Raises:
            InvalidInput: At the `with`: the model keeps no sequences, or takes no such id.
            ClientError: At the `with`, where the model's metadata is read: as for `infer`.
        """
        return InferenceSequence(self, sequence_id, Terms(model, version, priority, deadline))

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
                step = resume(flow, self._outcome(step))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
        finally:
            flow.close()

    def _streamed(self, flow: StreamFlow) -> Generator[Result, None, None]:
        """The same for a flow that yields results; where this is closed, so is the flow, which cancels the request."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Result):
                    yield step
                    step = next(flow)
                else:
                    step = resume(flow, self._outcome(step))
        except StopIteration:
            return
        finally:
            flow.close()

    def _outcome(self, step: Step) -> Any:
        """Does a step: its answer, or the ClientError that came instead."""
        try:
            return self._do(step)
        except ClientError as error:
            return error

    def _do(self, step: Step) -> Any:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        if self._closed:
            raise ClientClosed("this client is closed; make a new one, or do the calls inside of its `with`.")
        if isinstance(step, Receive):
            return cast(GrpcStream, step.stream).receive()
        transport = self._transports[step.endpoint]
        if isinstance(step, Open):
            return cast(GrpcTransport, transport).open(step.call, step.deadline)
        return transport.perform(step.call, step.deadline)

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
