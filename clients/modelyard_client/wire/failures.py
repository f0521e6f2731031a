"""From a status and the server's words to a typed error: pure, the same for gRPC and HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from modelyard_client.calls import Call, InferStream, RegisterRegion, UnregisterRegion
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
    SequenceLost,
    ServerBusy,
    ServerUnavailable,
    SharedMemoryFailed,
    UnexpectedAnswer,
)

# Triton puts it before some messages; the error carries the id itself.
REQUEST_ID_PREFIX = re.compile(r"^\[request id: [^\]]*\] ")


# Triton's words about a request whose sequence it has dropped; the second where it waited too long for a slot.
_SEQUENCE_LOST = re.compile(r"must specify the START flag|timeout of the corresponding sequence has been expired")
# In a stream an error is a message without a status: its words have to tell. What is not here came from the model.
_STREAM_STATUSES = {
    r"^Request for unknown model": "NOT_FOUND",
    r"^Exceeds maximum queue size|^Request timeout expired|^Server is stopping|is not ready$": "UNAVAILABLE",
    r"^inference request .*(model '|batch-size)|^inference input .* data-type": "INVALID_ARGUMENT",
    r"^unexpected (shape for input|inference (in|out)put)": "INVALID_ARGUMENT",
    r"^expected (number of inputs|\d+ inputs)": "INVALID_ARGUMENT",
    r"timeout of the corresponding sequence|conflicts with in-flight sequence": "INVALID_ARGUMENT",
}


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
    where = (
        f"in the middle of a stream ({reason})."
        if isinstance(call, InferStream)
        else f"while it held the request ({reason}): whether it ran is unknown."
    )
    return failed(ConnectionLost, f"{endpoint.url} went away {where} See the server's log for why.", endpoint, call)


def too_late(deadline: Deadline, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """The deadline passed while the server held the request."""
    what = "the stream did not end at" if isinstance(call, InferStream) else "no answer from"
    where = ", or whether other sequences hold all of the model's slots" if call.sequence_id else ""
    return failed(
        DeadlineExceeded,
        f"{what} {endpoint.url} within the deadline of {deadline.seconds:g} s: pass a longer deadline, "
        f"or see whether the server is overloaded{where}.",
        endpoint,
        call,
    )


def after_responses(error: ClientError, received: int) -> ClientError:
    """The same failure, saying how far its stream had come."""
    came = f"{received or 'No'} response{'' if received == 1 else 's'} had come before."
    return type(error)(f"{error} {came}", url=error.url, model=error.model, request_id=error.request_id)


def refused_in_stream(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    """The error for an error message in a stream."""
    bare = REQUEST_ID_PREFIX.sub("", words).strip()
    status = next((status for pattern, status in _STREAM_STATUSES.items() if re.search(pattern, bare)), "INTERNAL")
    return refused(status, words, endpoint, call)


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
    if call.sequence_id and is_tritons and _SEQUENCE_LOST.search(words):
        return _sequence_lost(words, endpoint, call)
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


def _sequence_lost(words: str, endpoint: Endpoint, call: Call[Any]) -> ClientError:
    sentence = (
        f"{endpoint.url} does not know sequence {call.sequence_id!r} ({words}): it ended, it was idle for longer than "
        "the model's max_sequence_idle_microseconds, the model was loaded anew, or the server was restarted. Start a "
        "new sequence with its history."
    )
    return failed(SequenceLost, sentence, endpoint, call)


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
