"""MY704 and MY707 to MY711: how a server is started: its image, flags, ports and mounts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.server_settings import (
    NVIDIAS_IMAGE,
    as_items,
    as_number,
    flag,
    mount_targets,
    of_each_server,
    triton_image,
)
from modelyard_build.repository.lint.server_arguments import options
from modelyard_build.repository.lint.servers import Server, text
from modelyard_build.repository.lint.subjects import Deployment
from modelyard_build.repository.releases import DEFAULT_RELEASE


def _is_true(value: str | None, default: bool) -> bool:
    """As Triton reads a switch: `--name` alone is on."""
    if value is None:
        return default
    return value.lower() in ("", "1", "true", "on")


@rule(
    "MY704",
    Severity.WARNING,
    summary="the server polls the repository",
    mend="Use --model-control-mode=explicit, and load a model when its version is complete.",
    verdict=Verdict.UNSEEN,
)
def polls_the_repository(deployment: Deployment) -> Findings:
    """In mode `poll` Triton loads what it finds when it looks: a version that is copied just then is half there.

    A renamed folder or a half-written config unloads a model that served.
    """

    def look(server: Server) -> Iterator[Raised]:
        if flag(server, "model-control-mode") == "poll":
            yield server.raised_at_argument(
                f"{server.name} polls its repository, and loads versions that are half copied; use "
                "--model-control-mode=explicit",
                "model-control-mode",
            )

    return of_each_server(deployment, look)


@rule(
    "MY707",
    Severity.WARNING,
    summary="ready although models are not",
    mend="Leave --strict-readiness out: true is the default.",
    verdict=Verdict.UNSEEN,
)
def readiness_is_not_strict(deployment: Deployment) -> Findings:
    """With `--strict-readiness=false` `/v2/health/ready` says that the server answers, whatever its models do.

    A rollout then goes on over servers that serve nothing.
    """

    def look(server: Server) -> Iterator[Raised]:
        if not _is_true(flag(server, "strict-readiness"), default=True):
            yield server.raised_at_argument(
                f"{server.name} says that it is ready before its models are; leave --strict-readiness out",
                "strict-readiness",
            )

    return of_each_server(deployment, look)


@rule(
    "MY708",
    Severity.WARNING,
    summary="an image with known holes",
    mend=f"Use {NVIDIAS_IMAGE}:{DEFAULT_RELEASE}-py3 or later.",
    verdict=Verdict.UNSEEN,
)
def image_is_old(deployment: Deployment) -> Findings:
    """Releases before 26.06 have holes that a request can use: several are rated 9.8 of 10.

    Among them are the execution of foreign code through model control and through the Python backend's shared memory,
    and single HTTP requests that end the server.
    """

    def look(server: Server) -> Iterator[Raised]:
        _, tag = triton_image(server)
        found = re.match(r"([0-9]{2})\.([0-9]{2})(?![0-9.])", tag)
        if found and f"{found[1]}.{found[2]}" < DEFAULT_RELEASE:
            yield server.raised(
                f"{server.name} runs release {found[0]}, which a single request can end or take over; use "
                f"{DEFAULT_RELEASE} or later",
                "image",
            )

    return of_each_server(deployment, look)


@rule(
    "MY709",
    Severity.WARNING,
    summary="everybody may load and unload models",
    mend="Publish the ports on 127.0.0.1 and put a proxy before them, or restrict the model-repository API.",
    verdict=Verdict.UNSEEN,
)
def model_control_is_open(deployment: Deployment) -> Findings:
    """In mode `explicit` whoever reaches the HTTP or gRPC port may unload your models, and load one of his own.

    A Python model is code. Docker publishes a port on every address of the machine unless one is stated, past the
    firewall.
    """

    def look(server: Server) -> Iterator[Raised]:
        restricts = [name for name in ("http-restricted-api", "grpc-restricted-protocol") if flag(server, name)]
        if server.pod is not None or flag(server, "model-control-mode") != "explicit" or restricts:
            return
        ours = (flag(server, "http-port") or "8000", flag(server, "grpc-port") or "8001")
        for index, port in enumerate(as_items(server.stated.get("ports"))):
            address, target = _published(port)
            exposed = next((each for each in ours if _is_within(each, target)), "")
            if exposed and not _is_loopback(address):
                yield server.raised(
                    f"port {exposed} of {server.name} is published on {address or 'every address'}, and whoever "
                    f"reaches it may load and unload models; write 127.0.0.1:{exposed}:{exposed}, and a proxy",
                    "ports",
                    index,
                )

    return of_each_server(deployment, look)


def _published(port: Any) -> tuple[str, str]:
    """The address on the machine and the container's port, of an entry of `ports`."""
    if isinstance(port, dict):
        return text(port.get("host_ip")), text(port.get("target"))
    left, _, target = text(port).rpartition(":")
    address = left.rpartition(":")[0]
    return address.strip("[]"), target.partition("/")[0]


def _is_within(port: str, ports: str) -> bool:
    """Whether a port is among `8000` or `8000-8002`."""
    first, _, last = ports.partition("-")
    low, high, wanted = as_number(first), as_number(last or first), as_number(port)
    return low is not None and high is not None and wanted is not None and low <= wanted <= high


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "localhost") or "$" in address


@rule(
    "MY710",
    Severity.WARNING,
    summary="every request is written to the log",
    mend="Leave --log-verbose out; turn it on for a while with POST /v2/logging.",
    verdict=Verdict.UNSEEN,
)
def log_is_verbose(deployment: Deployment) -> Findings:
    """With `--log-verbose` Triton writes several lines for each request.

    It costs throughput and fills the disk, and what matters is lost among it.
    """

    def look(server: Server) -> Iterator[Raised]:
        level = flag(server, "log-verbose")
        if level is not None and (as_number(level) or 0) > 0:
            yield server.raised_at_argument(
                f"{server.name} logs every request (--log-verbose={level}); leave it out, and turn it on for a while "
                "with POST /v2/logging",
                "log-verbose",
            )

    return of_each_server(deployment, look)


@rule(
    "MY711",
    Severity.WARNING,
    summary="a model repository that is not mounted",
    mend="Mount the repository at the path of --model-repository.",
    verdict=Verdict.UNSEEN,
)
def repository_is_not_mounted(deployment: Deployment) -> Findings:
    """Triton ends at once when its repository is not there: `failed to stat file …`.

    NVIDIA's own image has none, so this looks at that image alone; yours may hold its models.
    """

    def look(server: Server) -> Iterator[Raised]:
        if not server.is_whole or triton_image(server)[0] != NVIDIAS_IMAGE or "build" in server.stated:
            return
        mounted = [target.rstrip("/") for target in mount_targets(server)]
        for name in ("model-repository", "model-store"):
            for path in options(server.arguments or (), name):
                place = f"{path.rstrip('/')}/"
                # Around it, or files of a model into it.
                filled = any(place.startswith(f"{target}/") or target.startswith(place) for target in mounted)
                if path.startswith("/") and not filled and "$" not in path:
                    yield server.raised_at_argument(
                        f"nothing is mounted at {path}, where {server.name} looks for models; mount the "
                        "repository there",
                        name,
                    )

    return of_each_server(deployment, look)
