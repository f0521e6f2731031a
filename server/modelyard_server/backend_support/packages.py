"""A backend's library that is not installed."""

from __future__ import annotations

import sys

from modelyard_server.backend_support.errors import ModelLoadError


def missing_package(backend: str, package: str, extra: str) -> ModelLoadError:
    """The reason of a failed load, with the command that mends it.

    Args:
        backend: Its name in config.pbtxt.
        package: As it is imported.
        extra: Of the distribution `modelyard`, which brings it.
    """
    return ModelLoadError(
        f"the {backend} backend needs the package {package} in the environment of {sys.executable}: "
        f'pip install "modelyard[{extra}]"'
    )
