"""What the rules about operation share: the servers of a file, and how settings of theirs are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Raised
from modelyard_build.repository.lint.server_arguments import option
from modelyard_build.repository.lint.servers import TRITONSERVER, Server, image_and_tag, servers, text
from modelyard_build.repository.lint.subjects import Deployment

# Where NVIDIA publishes the image; what it holds is known.
NVIDIAS_IMAGE = "nvcr.io/nvidia/tritonserver"


def _once(found: Iterator[Raised]) -> Findings:
    """Each place once: services share what an anchor states."""
    seen: set[tuple[int, int]] = set()
    for raised in found:
        if (raised.start, raised.end) not in seen:
            seen.add((raised.start, raised.end))
            yield raised


def of_each_server(deployment: Deployment, look: Callable[[Server], Iterator[Raised]]) -> Findings:
    """What a look at each server of a file finds, each place once."""
    return _once(raised for server in servers(deployment) for raised in look(server))


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A mapping of the document; empty where something else stands there."""
    return value if isinstance(value, dict) else {}


def as_items(value: Any) -> list[Any]:
    """A list of the document; empty where something else stands there."""
    return value if isinstance(value, list) else []


def flag(server: Server, name: str) -> str | None:
    """The last value of one of the server's arguments; None where it is not stated."""
    return option(server.arguments or (), name)


def as_number(value: Any) -> float | None:
    """A number of 0 or more; None where it is none."""
    stated = text(value)
    return float(stated) if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", stated) else None


def triton_image(server: Server) -> tuple[str, str]:
    """The image's name and its tag, of one that is called tritonserver; empty otherwise."""
    name, tag = image_and_tag(server.image)
    return (name, tag) if name.rpartition("/")[2] == TRITONSERVER else ("", "")


def mount_targets(server: Server) -> Iterator[str]:
    """Where in the container something is mounted."""
    if server.pod is not None:
        for mount in map(as_mapping, as_items(server.stated.get("volumeMounts"))):
            yield text(mount.get("mountPath"))
        return
    for volume in as_items(server.stated.get("volumes")):
        if isinstance(volume, dict):
            yield text(volume.get("target"))
        else:
            parts = text(volume).split(":")
            yield parts[1] if len(parts) > 1 else parts[0]
