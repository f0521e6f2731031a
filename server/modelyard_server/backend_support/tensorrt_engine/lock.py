"""What an engine is bound to, as far as the manifest beside it tells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard_server.backend_support.tensorrt_engine.library import Library

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Lock:
    """What built an engine, and for what.

    Attributes:
        version: Of the library, ``10.13.3``.
        compute_capabilities: That it was built for.
    """

    version: str
    compute_capabilities: tuple[str, ...]


@dataclass(frozen=True)
class Host:
    """What is to run it.

    Attributes:
        library: Which of the two.
        version: That is installed.
        compute_capability: Of the GPU, ``9.0``.
    """

    library: Library
    version: str
    compute_capability: str


def read_lock(path: Path) -> Lock | None:
    """The lock of an engine out of the version's manifest; None where that does not tell."""
    try:
        manifest = json.loads((path.parent / MANIFEST).read_text())
        return lock_of(manifest, path.name)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def lock_of(manifest: Mapping[str, Any], filename: str) -> Lock | None:
    """The lock that a manifest has for a file."""
    for candidate in manifest.get("candidates", {}).values():
        record = candidate.get("artefact", {})
        if filename in candidate.get("files", []) and record.get("version"):
            return Lock(str(record["version"]), tuple(record.get("compute_capabilities", [])))
    return None


def load_failure(name: str, host: Host, lock: Lock | None, complaints: Sequence[str]) -> str:
    """Why an engine does not load, in one sentence.

    Args:
        name: What messages call the engine.
        host: What was to run it.
        lock: What it is bound to; None where nobody wrote it down.
        complaints: What the library logged.
    """
    said = " ".join(" ".join(complaints).split()) or "it gives no reason"
    title = host.library.title
    return (
        f"{title} {host.version} on compute capability {host.compute_capability} cannot load {name}: "
        f"{_built(title, lock)}{said}. An engine loads in the version of {title} and on the kind of GPU that it was "
        "built for: build it again for these"
    )


def _built(title: str, lock: Lock | None) -> str:
    if lock is None:
        return ""
    capabilities = ", ".join(lock.compute_capabilities) or "unknown"
    return f"it was built by {title} {lock.version} for compute capability {capabilities}; "
