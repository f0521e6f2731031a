"""manifest.json: what a version is made of, from what, and how it was proven."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard_build.assets import sha256_of
from modelyard_build.atomic import replacing
from modelyard_build.errors import BuildError

FILENAME = "manifest.json"
SCHEMA = 2


@dataclass(frozen=True)
class Manifest:
    """The record in a version folder.

    Attributes:
        model: the Triton model name.
        version: the number of the folder.
        created: when it was published, ISO 8601 in UTC.
        key: the hash over everything it was built from; an equal key means that nothing is to do.
        sources: SHA-256 of each source file, by path inside the package.
        assets: SHA-256 of each fetched file, by name.
        libraries: versions of the libraries that wrote it.
        target: the Triton release it was checked for, with its limits.
        signature: what the declaration dictates to a config, see `agreement.signature`: inputs and outputs (name,
            dtype, dims without the batch) and max_batch_size; an ensemble's steps, a Python step's parameters.
        steps: for an ensemble, the key of each step it was verified with.
        files: SHA-256 and size in bytes of every other file in the folder.
        verification: the evidence of a Python step or an ensemble.
        candidates: for a PyTorch model, what was made of it, by name: the files, the key, the record of the target, the
            evidence, and where it was refused the reason.
        measurements: for a PyTorch model, its candidates measured beside each other, by kind of machine.
        metrics: the task's own figures.
        seconds: how long each step of the build took.
        beside: SHA-256 of the warmup files and labels that came with it, by path beside the versions.
    """

    model: str
    version: int
    created: str
    key: str
    sources: dict[str, str]
    assets: dict[str, str]
    libraries: dict[str, str]
    target: dict[str, Any]
    signature: dict[str, Any]
    steps: dict[str, str]
    files: dict[str, dict[str, Any]]
    verification: dict[str, Any]
    candidates: dict[str, dict[str, Any]]
    measurements: dict[str, dict[str, Any]]
    metrics: dict[str, Any]
    seconds: dict[str, float]
    schema: int = field(default=SCHEMA)
    beside: dict[str, str] = field(default_factory=dict)


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The SHA-256 and size of every file below a folder, by relative path, the manifest itself left out."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILENAME)
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in paths
    }


def write(manifest: Manifest, folder: Path) -> None:
    """Puts the manifest into a version folder, in one step; a power cut leaves the one before or this one."""
    with replacing(folder / FILENAME) as partial, partial.open("w") as file:
        file.write(json.dumps(dataclasses.asdict(manifest), indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """The manifest of a version.

    Raises:
        BuildError: it is missing or is not one of ours.
    """
    path = folder / FILENAME
    try:
        manifest = Manifest(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BuildError(
            f"{path} cannot be read as a manifest: {error}. If the folder is not `modelyard build`'s, give it a "
            "number of its own outside this model; otherwise remove the folder and build again."
        ) from error
    if not _is_signature(manifest.signature):
        raise BuildError(f"{path} has no signature that can be read. Remove the folder and build again.")
    if manifest.schema != SCHEMA:
        raise BuildError(f"{path} has schema {manifest.schema}, this Modelyard reads {SCHEMA}. Use the newer one.")
    return manifest


def _is_signature(found: Any) -> bool:
    """Whether it has what every signature has had from the beginning."""
    return (
        isinstance(found, dict)
        and isinstance(found.get("max_batch_size"), int)
        and all(isinstance(found.get(role), list) for role in ("inputs", "outputs"))
        and all(
            isinstance(tensor, dict) and tensor.keys() >= {"name", "dtype", "dims"}
            for role in ("inputs", "outputs")
            for tensor in found[role]
        )
    )


def damage(folder: Path, manifest: Manifest) -> str:
    """What is wrong with a version's files, in words; empty when all are as published."""
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is gone"
        if path.stat().st_size != expected["bytes"] or sha256_of(path) != expected["sha256"]:
            return f"{name} is not what was published"
    return ""
