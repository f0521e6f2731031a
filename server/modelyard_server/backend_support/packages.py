"""The library that a backend runs its models with."""

from __future__ import annotations

import sys
from importlib import import_module

from modelyard_server.backend_support.errors import ModelLoadError


def require_package(backend: str, package: str, extra: str) -> None:
    """Imports a backend's library, before what builds on it is imported.

    Args:
        backend: Its name in config.pbtxt.
        package: As it is imported.
        extra: Of the distribution `modelyard`, which brings it.

    Raises:
        ModelLoadError: It is not installed or not complete; the message has the command that mends it.
    """
    try:
        import_module(package)
    except ImportError as error:
        raise ModelLoadError(
            f"the {backend} backend needs the package {package} in the environment of {sys.executable} ({error}): "
            f'pip install "modelyard[{extra}]"'
        ) from None
