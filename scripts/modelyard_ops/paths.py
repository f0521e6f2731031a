"""Which model repository a command works on."""

from __future__ import annotations

from pathlib import Path

from modelyard_ops.errors import OpsError

DEFAULT_REPOSITORY = Path("model_repository")


def existing_repository(path: Path) -> Path:
    """The absolute path of an existing model repository.

    Raises:
        OpsError: `path` is missing, or is a file.
    """
    if not path.exists():
        raise OpsError(
            f"there is no model repository at {path.absolute()}. "
            "Run this in the project's root, or name one with --repository."
        )
    if not path.is_dir():
        raise OpsError(f"{path.absolute()} is a file; a model repository is a folder. Name one with --repository.")
    return path.resolve()
