"""The errors of the Python-based backends, drawn as a tree.

ServerError
└── BackendError
    ├── ModelLoadError    config.pbtxt and the artefact contradict each other, or one of them cannot be used here
    ├── RequestError      one request cannot be served as it came; its batch-mates can
    ├── ExecutionError    the runtime failed while it ran the model
    └── CancelledError    the client gave the request up
"""

from __future__ import annotations

from modelyard_server.errors import ServerError


class BackendError(ServerError):
    """The base of what a Python-based backend raises."""


class ModelLoadError(BackendError):
    """The model must not be served: Triton reports the text as the reason of the failed load."""


class RequestError(BackendError):
    """The client's mistake (Triton's INVALID_ARG)."""


class ExecutionError(BackendError):
    """The runtime's failure (Triton's INTERNAL, as the container's backends report it)."""


class CancelledError(BackendError):
    """The client no longer waits (Triton's CANCELLED)."""
