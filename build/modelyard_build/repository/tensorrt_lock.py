"""What binds a TensorRT engine to a server and a GPU: held before it is published, and before it is served.

An engine of another version or GPU is the most frequent failure of all: Triton says only that it cannot deserialize.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard_build.repository.releases import RELEASE_VARIABLE, Release

# Parts of a version that must be equal: major, minor, patch and build. The table may know fewer.
_LEAST_PARTS = 3
_CONTAINER = "Build it in the release's own image: docker compose run --rm build"


def check_lock(record: Mapping[str, Any], release: Release, compute_capability: str | None) -> str:
    """Whether an engine will load in a release's server on a GPU.

    Args:
        record: what the build recorded of the engine, `artefacts.<candidate>.record` in the manifest.
        release: the Triton release that is to load it.
        compute_capability: of the GPU that is to run it, such as "9.0"; None where that is not known yet.

    Returns:
        Why not, with the next step; empty when it will.
    """
    missing = [name for name in ("library", "version", "compute_capabilities") if not record.get(name)]
    if missing:
        return f"the engine's record has no {', '.join(missing)}: it is not known where it loads. Build it again."
    if record["library"] == "tensorrt" and (reason := _version(record, release)):
        return reason
    if compute_capability is None:
        return ""
    level = record.get("hardware_compatibility", "none")
    return check_compute_capability(record["library"], record["compute_capabilities"], compute_capability, level)


def _version(record: Mapping[str, Any], release: Release) -> str:
    built, serves = record["version"], release.tensorrt
    if serves is None:
        if record.get("built_in_release") == release.name:
            return ""
        return (
            f"the engine is of TensorRT {built}; which one Triton {release.name} has is not in the table, and the "
            f"engine was built in {record.get('built_in_release') or 'no image of a release'}. {_CONTAINER} with "
            f"TRITON_RELEASE={release.name}, or enter the image's version in releases.json. Where you know that this "
            f"machine has the same, say so with {RELEASE_VARIABLE}={release.name}."
        )
    if _same(built, serves) or (record.get("version_compatible") and _later(built, serves)):
        return ""
    loose = "of the same major version and not older" if record.get("version_compatible") else "of the same version"
    return (
        f"the engine is of TensorRT {built}, Triton {release.name} has {serves}; a server must be {loose}. "
        f"{_CONTAINER} with TRITON_RELEASE={release.name}."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _same(built: str, serves: str) -> bool:
    parts = min(len(_numbers(built)), len(_numbers(serves)))
    return parts >= _LEAST_PARTS and _numbers(built)[:parts] == _numbers(serves)[:parts]


def _later(built: str, serves: str) -> bool:
    return _numbers(built)[0] == _numbers(serves)[0] and _numbers(serves) >= _numbers(built)[: len(_numbers(serves))]


def check_compute_capability(
    library: str, built: Sequence[str], serves: str, hardware_compatibility: str = "none"
) -> str:
    """Whether an engine runs on a GPU.

    Args:
        library: "tensorrt" or "tensorrt_rtx".
        built: the compute capabilities that the engine was built for.
        serves: the GPU's.
        hardware_compatibility: as in `EngineOptions`.

    Returns:
        Why not, with the next step; empty when it does.
    """
    if serves in built:
        return ""
    if library == "tensorrt_rtx":
        # An engine for 12.0 is finished when it loads, for that GPU or a later one.
        open_ended = _numbers(built[-1]) >= (12, 0)
        runs = open_ended and _numbers(serves) >= _numbers(built[-1])
        expected = ", ".join(built) + (" and later" if open_ended else "")
        mend = "Build it for this one (compute_capabilities), or through the tensorrt target."
    else:
        runs = hardware_compatibility == "ampere_plus" and _numbers(serves) >= (8, 0)
        expected = ", ".join(built)
        mend = "Build it on a machine with the GPU that will serve, or with hardware_compatibility='ampere_plus'."
    return "" if runs else f"the engine is for compute capability {expected}, the GPU has {serves}. {mend}"
