"""The errors of this package, drawn as a tree.

ClientError
├── InvalidInput          what was passed contradicts the model or this library
├── ClientClosed          the client was closed before or during the call
├── ServerUnavailable     no server took the request
│   ├── ServerBusy        the model's queue is full
│   └── ConnectionLost    the server went away while it held the request: whether it ran is unknown
├── DeadlineExceeded      the time was up first
├── AccessDenied          the server, or a proxy before it, refused these credentials
├── ModelNotFound         the server has no such model or version
├── ModelNotReady         the server knows the model and does not serve it now
├── InferenceFailed       the server took the request and failed on it
├── SequenceLost          the server does not hold the sequence's state, or nobody knows what it holds: start again
├── UnexpectedAnswer      what answered does not speak Triton's protocol
├── IncompatibleModel     the model is not of the kind that this task needs
└── SharedMemoryFailed    a shared-memory region could not be made or used

TextTruncated             a warning: the model read only the beginning of a text
"""

from __future__ import annotations

from collections.abc import Mapping


class ClientError(Exception):
    """The base of all of them. The message says what, got, expected and the next step.

    Attributes:
        url: The server that was asked, or None where none was.
        model: The model that was asked for, or None.
        request_id: The id of the request, as it stands in the server's log and traces, or None.
    """

    def __init__(
        self, message: str, *, url: str | None = None, model: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.url = url
        self.model = model
        self.request_id = request_id


class InvalidInput(ClientError):
    """What was passed contradicts the model's metadata or this library: the same call fails again."""


class ClientClosed(ClientError):
    """The client was closed before or during the call."""


class ServerUnavailable(ClientError):
    """No server took the request: not reachable, or it says that it cannot serve now."""


class ServerBusy(ServerUnavailable):
    """The model's queue is full; the request did not run."""


class ConnectionLost(ServerUnavailable):
    """The server went away while it held the request: whether it ran is unknown."""


class DeadlineExceeded(ClientError):
    """The call's time was up before an answer came; the request may still run on the server."""


class AccessDenied(ClientError):
    """The server, or a proxy before it, refused these credentials."""


class ModelNotFound(ClientError):
    """The server has no such model or version."""


class ModelNotReady(ClientError):
    """The server knows the model and does not serve it now: it loads, unloads, or failed to load."""


class InferenceFailed(ClientError):
    """The server took the request and failed on it; the message ends with the server's own words."""


class SequenceLost(ClientError):
    """The state of a sequence is gone, or unknown after a failure: start a new one with its history."""


class UnexpectedAnswer(ClientError):
    """What answered does not speak Triton's protocol: a wrong port, a wrong path or a proxy's page."""


class IncompatibleModel(ClientError):
    """The model is not of the kind that this task needs: an output, a parameter or the labels are missing."""


class SharedMemoryFailed(ClientError):
    """A shared-memory region could not be made, or the server could not use it."""


class TextTruncated(UserWarning):
    """The model read only the beginning of some texts.

    Attributes:
        token_counts: Position in the list that was passed -> number of tokens before truncation.
        max_tokens: The number of tokens that the model reads.
    """

    def __init__(self, token_counts: Mapping[int, int], max_tokens: int) -> None:
        super().__init__(describe_truncation(token_counts, max_tokens))
        self.token_counts = dict(token_counts)
        self.max_tokens = max_tokens


def describe_truncation(token_counts: Mapping[int, int], max_tokens: int) -> str:
    """Names the texts that are longer than the model's maximum; ten at most."""
    named = [f"texts[{position}] ({count})" for position, count in sorted(token_counts.items())[:10]]
    rest = len(token_counts) - len(named)
    return (
        f"the model reads {max_tokens} tokens, these texts have more: {', '.join(named)}"
        f"{f' and {rest} others' if rest else ''}"
    )
