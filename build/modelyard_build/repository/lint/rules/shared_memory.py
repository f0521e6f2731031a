"""MY706: the shared memory that a server has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.server_settings import as_items, as_mapping, mount_targets, of_each_server
from modelyard_build.repository.lint.servers import Server, text
from modelyard_build.repository.lint.subjects import Deployment

# Docker's default for /dev/shm, and Kubernetes'.
DEFAULT_SHARED_MEMORY = 64 << 20


@rule(
    "MY706",
    Severity.WARNING,
    summary="Python models get 64 MB of shared memory",
    mend="State shm_size (Compose), or mount an emptyDir of medium Memory at /dev/shm (Kubernetes).",
    verdict=Verdict.UNSEEN,
)
def little_shared_memory(deployment: Deployment) -> Findings:
    """Every instance of a Python model exchanges its tensors through /dev/shm, which a container has 64 MB of.

    An instance's region grows with its largest batch, to some 2.7 times its size, and never shrinks. When /dev/shm is
    full, instances fail to load or die with a bus error.
    """

    def look(server: Server) -> Iterator[Raised]:
        if not server.is_whole:
            return
        size, field = _compose_shared_memory(server) if server.pod is None else _pod_shared_memory(server)
        if size is not None and size <= DEFAULT_SHARED_MEMORY:
            remedy = (
                "set shm_size, such as 1gb" if server.pod is None else "mount an emptyDir of medium Memory at /dev/shm"
            )
            yield server.raised(
                f"{server.name} has {size >> 20} MB of /dev/shm, and every instance of a Python model takes a share of "
                f"it; {remedy}",
                *field,
            )

    return of_each_server(deployment, look)


def _compose_shared_memory(server: Server) -> tuple[int | None, tuple[str, ...]]:
    """The size of /dev/shm and the field that says it; None: it cannot be read, or is the host's."""
    stated = server.stated
    if "shm_size" in stated:
        return _bytes(stated["shm_size"]), ("shm_size",)
    mounts = [*mount_targets(server)] + [text(item) for item in _listed(stated.get("tmpfs"))]
    if "ipc" in stated or any(mount.partition(":")[0] == "/dev/shm" for mount in mounts):  # noqa: S108 (a container's)
        return None, ()
    return DEFAULT_SHARED_MEMORY, ()


def _pod_shared_memory(server: Server) -> tuple[int | None, tuple[str, ...]]:
    for mount in as_items(server.stated.get("volumeMounts")):
        if as_mapping(mount).get("mountPath") in ("/dev/shm", "/dev/shm/"):  # noqa: S108 (a container's)
            volumes = [as_mapping(volume) for volume in as_items((server.pod or {}).get("volumes"))]
            found = next((volume for volume in volumes if volume.get("name") == mount.get("name")), {})
            limit = as_mapping(found.get("emptyDir")).get("sizeLimit")
            return (None if limit is None else _bytes(limit)), ("volumeMounts",)
    return (None if (server.pod or {}).get("hostIPC") is True else DEFAULT_SHARED_MEMORY), ("name",)


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else as_items(value)


_SIZE = re.compile(r"([0-9]{1,18})\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)


def _bytes(size: Any) -> int | None:
    """A size of Compose (`1gb`) or Kubernetes (`1Gi`); None where it is none."""
    found = _SIZE.fullmatch(text(size).strip())
    return int(found[1]) << 10 * " kmgt".index(found[2].lower() or " ") if found else None
