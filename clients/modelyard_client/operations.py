"""What a client does, as flows: pure but for its memory of what the servers have said about their models."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from modelyard_client.balance import Balancer
from modelyard_client.calls import (
    Answer,
    Call,
    GetConfig,
    GetMetadata,
    Infer,
    InferStream,
    ModelReady,
    ServerLive,
    ServerReady,
    UnregisterRegion,
)
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import (
    ClientError,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ServerUnavailable,
)
from modelyard_client.flow import Flow, Pause, Send, logger, send
from modelyard_client.metadata import ModelMetadata, ModelSignature, signature_of
from modelyard_client.request import (
    NOTHING_SHARED,
    InferOptions,
    InferRequest,
    Inputs,
    Region,
    SharedTensors,
    build_request,
    check_sequence_id,
    random_sequence_id,
)
from modelyard_client.result import Result, decode_response
from modelyard_client.retry import RetryPolicy
from modelyard_client.streams import Stream, StreamFlow, open_stream

T = TypeVar("T")

# How often a server that is not ready is asked again, and how long one may take to answer that question.
POLL_S = 0.1
PROBE_S = 2.0
# How long a server may take to unmap a region.
RELEASE_S = 5.0


class Operations:
    """The flows behind `Client` and `AsyncClient`.

    Args:
        endpoints: The servers.
        deadline: Seconds that a call may take where it does not say.
        retry: When a failed call is sent again.
    """

    def __init__(self, endpoints: Sequence[Endpoint], deadline: float, retry: RetryPolicy) -> None:
        Deadline(deadline)
        self.endpoints = tuple(endpoints)
        self._balancer = Balancer(endpoints)
        over_grpc = [endpoint for endpoint in endpoints if endpoint.is_grpc]
        self._grpc_balancer = self._balancer if len(over_grpc) == len(endpoints) else Balancer(over_grpc)
        self._deadline = deadline
        self._retry = retry
        self._signatures: dict[tuple[str, str], ModelSignature] = {}
        self._mapped: list[Region] = []

    def server_live(self) -> Flow[bool]:
        """Whether any server answers."""
        try:
            return (yield from self._ask_any(ServerLive(), Deadline(self._deadline)))
        except (ServerUnavailable, DeadlineExceeded):
            return False

    def metadata(self, model: str, version: str, deadline: float | None) -> Flow[ModelMetadata]:
        """The model's metadata, asked for anew."""
        return (yield from self._send(GetMetadata(*checked_model(model, version)), self._until(deadline)))

    def config(self, model: str, version: str, deadline: float | None) -> Flow[Any]:
        """The model's configuration, asked for anew."""
        return (yield from self._send(GetConfig(*checked_model(model, version)), self._until(deadline)))

    def signature(self, model: str, version: str) -> Flow[ModelSignature]:
        """What requests to the model are checked against, asked for anew."""
        return (yield from self._fetch_signature(model, version, self._until(None)))

    def infer(
        self,
        model: str,
        inputs: Inputs,
        options: InferOptions,
        deadline: float | None,
        shared: SharedTensors = NOTHING_SHARED,
    ) -> Flow[Result]:
        """Checks the inputs, sends them and reads the answer.

        What was read earlier about the model may be out of date. So inputs that contradict it are checked again against
        what the server says now, and so are inputs that the server refuses.
        """
        until = self._until(deadline)

        def ask(signature: ModelSignature) -> Flow[Result]:
            return self._infer(build_request(signature, inputs, options, shared), shared, until)

        return (yield from self._checked(ask, model, options.version, until))

    def stream(self, model: str, inputs: Inputs, options: InferOptions, deadline: float | None) -> StreamFlow:
        """The same, for any number of responses: yields each as it comes. Closing it cancels the request."""
        until = self._until(deadline)
        if not self._grpc_balancer.endpoints:
            raise InvalidInput(
                f"streams go over gRPC, and {self.endpoints[0].url} is HTTP: make the client with the URL of the "
                "server's gRPC port, for example 'grpc://127.0.0.1:8001'.",
                model=model,
            )

        def ask(signature: ModelSignature) -> Flow[Stream]:
            call = InferStream(build_request(signature, inputs, options, streamed=True))
            return open_stream(call, self._grpc_balancer, self._retry, until)

        with closing((yield from self._checked(ask, model, options.version, until))) as stream:
            while (response := (yield from stream.next())) is not None:
                yield decode_response(response, stream.request_id, {})

    def sequence_id(
        self, model: str, version: str, wanted: int | str | None, deadline: float | None
    ) -> Flow[int | str]:
        """The id of a new sequence: the one that is wanted, or a random one that gives it to the least busy server."""
        signature, _ = yield from self._signature(model, version, self._until(deadline))
        if not signature.sequence:
            raise InvalidInput(
                f"model '{model}' keeps no sequences (its config has no sequence_batching): call it with `infer`.",
                model=model,
            )
        if wanted is not None:
            check_sequence_id(signature, wanted)
            return wanted
        return self._balancer.sequence_id(partial(random_sequence_id, signature))

    def _checked(self, ask: Callable[[ModelSignature], Flow[T]], model: str, version: str, until: Deadline) -> Flow[T]:
        """Asks with what is known about the model, and once more where the server knows better by now."""
        signature, is_new = yield from self._signature(model, version, until)
        try:
            return (yield from ask(signature))
        except (InvalidInput, ModelNotFound):
            if is_new:
                raise
            renewed = yield from self._fetch_signature(model, version, until)
            if renewed == signature:
                raise
        return (yield from ask(renewed))

    def _infer(self, request: InferRequest, shared: SharedTensors, until: Deadline) -> Flow[Result]:
        response = yield from self._send(Infer(request, shared.regions), until)
        return decode_response(response, request.request_id, shared.views)

    def wait_ready(self, model: str | None, version: str, timeout: float) -> Flow[None]:
        """Returns once a server says that it, or the model on it, is ready."""
        until = Deadline(timeout)
        question = ServerReady() if model is None else ModelReady(*checked_model(model, version))
        while True:
            reason: ClientError = self._not_ready(model, timeout)
            try:
                if (yield from self._ask_any(question, until)):
                    return
            except (ServerUnavailable, DeadlineExceeded) as error:
                reason = error
            if until.left() <= POLL_S:
                raise reason
            yield Pause(POLL_S)

    def release_regions(self, *regions: Region) -> Flow[None]:
        """Has every server unmap these regions, and those that it could not unmap earlier.

        What cannot be unmapped now, because a request that was given up still uses it, is left for the next time.
        """
        self._mapped.extend(regions)
        for region in tuple(self._mapped):
            for endpoint in tuple(region.registered):
                if (yield from self._unmapped(region, endpoint)):
                    region.registered.discard(endpoint)
        self._mapped = [region for region in self._mapped if region.registered]

    def _unmapped(self, region: Region, endpoint: Endpoint) -> Flow[bool]:
        try:
            yield Send(endpoint, UnregisterRegion(region.name), Deadline(RELEASE_S))
        except ServerUnavailable:
            # A server that is gone has unmapped everything.
            return True
        except ClientError as error:
            logger.info("%s stays mapped for now: %s", region.key, error)
            return False
        return True

    def _until(self, deadline: float | None) -> Deadline:
        return Deadline(self._deadline if deadline is None else deadline)

    def _send(self, call: Call[Answer], until: Deadline) -> Flow[Answer]:
        return send(call, self._balancer, self._retry, until)

    def _ask_any(self, question: Call[bool], until: Deadline) -> Flow[bool]:
        """Whether any server says yes; a failure is raised only where none does."""
        failure: ClientError | None = None
        for endpoint in self.endpoints:
            try:
                if (yield Send(endpoint, question, Deadline(min(PROBE_S, max(until.left(), POLL_S))))):
                    return True
            except ClientError as error:
                failure = error
        if failure:
            raise failure
        return False

    def _signature(self, model: str, version: str, until: Deadline) -> Flow[tuple[ModelSignature, bool]]:
        """What is known about a model, and whether it was asked for just now."""
        known = self._signatures.get((model, version))
        if known is not None:
            return known, False
        return (yield from self._fetch_signature(model, version, until)), True

    def _fetch_signature(self, model: str, version: str, until: Deadline) -> Flow[ModelSignature]:
        metadata = yield from self._send(GetMetadata(*checked_model(model, version)), until)
        config = yield from self._send(GetConfig(*checked_model(model, version)), until)
        signature = signature_of(metadata, config)
        self._signatures[model, version] = signature
        return signature

    def _not_ready(self, model: str | None, timeout: float) -> ClientError:
        urls = ", ".join(endpoint.url for endpoint in self.endpoints)
        what = "the server" if model is None else f"model '{model}'"
        return ModelNotReady(
            f"{what} did not become ready at {urls} within {timeout:g} s: see the server's log for what does not load"
            f"{'' if model is None else ', and check the name'}.",
            url=self.endpoints[0].url,
            model=model,
        )


def checked_model(model: str, version: str) -> tuple[str, str]:
    """Raises InvalidInput for what cannot be a model's name or version."""
    if not isinstance(model, str) or not model:
        raise InvalidInput(f"the model's name is {model!r}; expected the name of its folder in the repository.")
    if not isinstance(version, str) or not re.fullmatch(r"(?a:\d*)", version):
        raise InvalidInput(f"the version of model '{model}' is {version!r}; expected a number as text, or ''.")
    return model, version
