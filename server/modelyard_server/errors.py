"""The errors of this package, drawn as a tree.

ServerError
├── InstallError                 Triton or perf_analyzer cannot be had
│   ├── DownloadError              the wheel that holds it cannot be fetched
│   └── CorruptWheelError          the wheel is not the pinned one
├── PreflightError               this machine, or what was asked for, cannot be served
│   ├── UnsupportedPlatformError   operating system, processor, C library or Python
│   ├── MissingLibraryError        a shared library that Triton or its Python backend loads
│   ├── NumpyVersionError          numpy is absent or 2.x where the Python backend would import it
│   ├── PortInUseError             somebody listens there already
│   └── RepositoryError            the path is no model repository
├── StartError                   Triton was started and did not become ready
│   ├── ServerDiedError            its process ended
│   ├── ModelsNotReadyError        it runs, but not every model is ready
│   └── ReadyTimeoutError          it is still starting after the time allowed
├── UnreachableError             no Triton answers at a URL
└── ModelControlError            a running Triton refused to load or unload a model
"""

from __future__ import annotations

from collections.abc import Mapping


class ServerError(Exception):
    """The base of all of them. The message says what, got, expected and the next step."""


class InstallError(ServerError):
    """Triton or perf_analyzer cannot be had."""


class DownloadError(InstallError):
    """The wheel cannot be fetched; the message says why, and where to put one by hand."""


class CorruptWheelError(InstallError):
    """The wheel's SHA-256 is not the pinned one."""


class PreflightError(ServerError):
    """This machine, or what was asked for, cannot be served."""


class UnsupportedPlatformError(PreflightError):
    """Not Linux x86_64 with glibc 2.35 or later and Python 3.10-3.12."""


class MissingLibraryError(PreflightError):
    """A shared library that Triton or its Python backend loads is not on this machine."""


class NumpyVersionError(PreflightError):
    """The Python backend of Triton 2.51 needs numpy 1.x: with 2.x outputs come back empty."""


class PortInUseError(PreflightError):
    """Somebody listens on a port that the server needs."""


class RepositoryError(PreflightError):
    """The path is missing, is a file, or holds no model."""


class StartError(ServerError):
    """Triton was started and did not become ready."""


class ServerDiedError(StartError):
    """Triton's process ended; the message holds the reason out of its log."""


class ModelsNotReadyError(StartError):
    """Triton runs, but not every model of its repository is ready.

    Attributes:
        reasons: for each such model, why.
    """

    def __init__(self, message: str, reasons: Mapping[str, str]) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)


class ReadyTimeoutError(StartError):
    """Triton is still starting after the time allowed."""


class UnreachableError(ServerError):
    """No Triton answers at a URL."""


class ModelControlError(ServerError):
    """A running Triton refused to load or unload a model; the message holds the reason."""
