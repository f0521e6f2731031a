"""From a status and the server's words to a typed error: pure, the same for gRPC and HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from modelyard_client.calls import Call, RegisterRegion, UnregisterRegion
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import (
    AccessDenied,
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ServerBusy,
    ServerUnavailable,
    SharedMemoryFailed,
    UnexpectedAnswer,
)

# Triton puts it before some messages; the error carries the id itself.
REQUEST_ID_PREFIX = re.compile(r"^\[request id: [^\]]*\] ")


def failed(kind: type[ClientError], sentence: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """The error of a call, with its attributes."""
    return kind(sentence, url=endpoint.url, model=call.model, request_id=call.request_id)


def never_connected(reason: object, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """No connection came about: nothing was sent."""
    return failed(
        ServerUnavailable,
        f"cannot connect to {endpoint.url} ({reason}): "
        "see that the server runs, and that host, port and scheme are right.",
        endpoint,
        call,
    )


def connection_lost(reason: object, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """The connection broke after the request was, at least partly, sent."""
    return failed(
        ConnectionLost,
        f"{endpoint.url} went away while it held the request ({reason}): whether it ran is unknown. "
        "See the server's log for why.",
        endpoint,
        call,
    )


def too_late(deadline: Deadline, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """The deadline passed while the server held the request."""
    return failed(
        DeadlineExceeded,
        f"no answer from {endpoint.url} within the deadline of {deadline.seconds:g} s: pass a longer deadline, "
        "or see whether the server is overloaded.",
        endpoint,
        call,
    )


def not_triton(reason: object, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """The answer is not one that Triton gives."""
    other = "HTTP" if endpoint.is_grpc else "gRPC"
    return failed(
        UnexpectedAnswer,
        f"{endpoint.url} answered, and not as Triton does ({reason}): is it the port of its {other} service, "
        "or another server?",
        endpoint,
        call,
    )


def refused(status: str, words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """The error for an answer that says no.

    Args:
        status: gRPC's canonical name, for example NOT_FOUND (google.rpc.Code).
        words: The server's message.
        endpoint: Who said it.
        call: What was asked.
    """
    words = REQUEST_ID_PREFIX.sub("", words).strip()
    # A model that fails may say anything; these are Triton's own words.
    is_tritons = status in ("INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE")
    if isinstance(call, RegisterRegion | UnregisterRegion) or (is_tritons and "shared memory region" in words):
        return _shared_memory(words, endpoint, call)
    if is_tritons and ("has no available versions" in words or "is not ready" in words):
        return _not_ready(words, endpoint, call)
    return _REFUSALS.get(status, _failed_on_it)(words, endpoint, call)


def _shared_memory(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    hint = ": it must see this machine's /dev/shm (a container: --ipc=host) and may open this user's files"
    sentence = f"{endpoint.url} cannot use the shared-memory region ({words}){hint if 'open' in words else ''}."
    return failed(SharedMemoryFailed, sentence, endpoint, call)


def _not_ready(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    sentence = (
        f"model '{call.model}' is not served by {endpoint.url} now ({words}): wait_ready() waits for a model that is "
        "loading; the server's log says why one failed."
    )
    return failed(ModelNotReady, sentence, endpoint, call)


def _not_found(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    sentence = f"{endpoint.url} does not have what was asked for ({words}): check the model's name and version."
    return failed(ModelNotFound, sentence, endpoint, call)


def _invalid(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    return failed(InvalidInput, f"{endpoint.url} refused the request: {words}", endpoint, call)


def _unavailable(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    if "Request timeout expired" in words:
        sentence = (
            f"the request's time was up while it waited in the queue of model '{call.model}' on {endpoint.url}: the "
            "deadline, or the queue's own timeout in the model's configuration, is too short for this load."
        )
        return failed(DeadlineExceeded, sentence, endpoint, call)
    if "maximum queue size" in words:
        return _busy(words, endpoint, call)
    return failed(ServerUnavailable, f"{endpoint.url} cannot take the request now: {words}", endpoint, call)


def _busy(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    sentence = f"{endpoint.url} has too much to do and did not take the request ({words}): send less at once, or later."
    return failed(ServerBusy, sentence, endpoint, call)


def _denied(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    sentence = f"{endpoint.url} denies access ({words}): pass the credentials that it asks for as headers or Tls."
    return failed(AccessDenied, sentence, endpoint, call)


def _server_deadline(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    sentence = f"{endpoint.url} gave the request up because its time was over ({words}): pass a longer deadline."
    return failed(DeadlineExceeded, sentence, endpoint, call)


def _failed_on_it(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    about = f"on model '{call.model}'" if call.model else "on the call"
    return failed(InferenceFailed, f"{endpoint.url} failed {about}: {words or 'it gave no reason'}", endpoint, call)


_REFUSALS: dict[str, Callable[[str, Endpoint, Call[Any]], ClientError]] = {
    "INVALID_ARGUMENT": _invalid,
    "ALREADY_EXISTS": _invalid,
    "OUT_OF_RANGE": _invalid,
    "UNIMPLEMENTED": _invalid,
    "NOT_FOUND": _not_found,
    "UNAVAILABLE": _unavailable,
    "RESOURCE_EXHAUSTED": _busy,
    "UNAUTHENTICATED": _denied,
    "PERMISSION_DENIED": _denied,
    "DEADLINE_EXCEEDED": _server_deadline,
}
