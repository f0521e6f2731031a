"""The artefact of a version, on disk."""

from __future__ import annotations

from pathlib import Path

from modelyard_server.backend_support.errors import ModelLoadError


def require_artefact(path: Path, version_folder: Path) -> Path:
    """The path, where something stands.

    Args:
        path: Below the version folder.
        version_folder: ``<model>/<version>``.

    Raises:
        ModelLoadError: Nothing stands there; the message tells what the version holds.
    """
    if not path.exists():
        names = ", ".join(sorted(entry.name for entry in version_folder.iterdir())) or "nothing"
        raise ModelLoadError(
            f"no file {artefact_name(path, version_folder)}; the version holds {names}: put it there, or name another "
            "in default_model_filename"
        )
    return path


def artefact_name(path: Path, version_folder: Path) -> str:
    """What messages call it: ``1/model.onnx``."""
    return str(path.relative_to(version_folder.parent))
