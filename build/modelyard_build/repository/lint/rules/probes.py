"""MY701 to MY703: what asks a server whether it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.server_settings import (
    NVIDIAS_IMAGE,
    as_mapping,
    of_each_server,
    triton_image,
)
from modelyard_build.repository.lint.servers import Server, text
from modelyard_build.repository.lint.subjects import Deployment

_ASKS_THE_SERVER = re.compile(r"/v2/health/(?:ready|live)|/v2/models/[^/\s\"']+(?:/versions/[^/\s\"']+)?/ready")
_ASKS_READY = re.compile(r"/v2/health/ready|/v2/models/[^/\s\"']+(?:/versions/[^/\s\"']+)?/ready")


def _asked(probe: Any) -> str:
    """What a probe or health check asks, as one text."""
    stated = as_mapping(probe)
    test = stated.get("test", as_mapping(stated.get("exec")).get("command", ""))
    words = " ".join(map(text, test)) if isinstance(test, list) else text(test)
    return f"{text(as_mapping(stated.get('httpGet')).get('path'))} {words}"


@rule(
    "MY701",
    Severity.WARNING,
    summary="a readiness probe that only asks the server",
    mend="Send a request that infers, as deploy/healthcheck/infer.py does.",
    verdict=Verdict.UNSEEN,
)
def readiness_only_asks_the_server(deployment: Deployment) -> Findings:
    """`/v2/health/ready` and `/v2/models/…/ready` stay 200 while every request of a Python model fails.

    When the process behind a Python model is dead, each inference is answered with 500, and all of Triton's health
    endpoints, gRPC's too, say ready. `/v2/health/ready` is 200 as well with a config that cannot be parsed or a missing
    version folder.
    """

    def look(server: Server) -> Iterator[Raised]:
        if server.pod is None:
            yield from _only_asks(server, "healthcheck", server.stated.get("healthcheck"))
        else:
            yield from _only_asks(server, "readinessProbe", server.stated.get("readinessProbe"))

    return of_each_server(deployment, look)


def _only_asks(server: Server, field: str, probe: Any) -> Iterator[Raised]:
    asked = _asked(probe)
    found = _ASKS_THE_SERVER.search(asked)
    by = found[0] if found else next((f"{kind}:" for kind in ("grpc", "tcpSocket") if kind in as_mapping(probe)), "")
    if by and "/infer" not in asked:
        yield server.raised(
            f"{field} of {server.name} asks {by}, which says ready while every request of a model fails; send "
            "a request that infers, as deploy/healthcheck/infer.py does",
            field,
        )


@rule(
    "MY702",
    Severity.WARNING,
    summary="a liveness probe that restarts a healthy server",
    mend="Ask /v2/health/live, or a request that infers, in livenessProbe.",
    verdict=Verdict.UNSEEN,
)
def liveness_asks_for_readiness(deployment: Deployment) -> Findings:
    """`/v2/health/ready` turns 400 for a moment whenever a model is reloaded.

    A liveness probe that asks it kills a server that works, which then loads every model again.
    """

    def look(server: Server) -> Iterator[Raised]:
        found = _ASKS_READY.search(_asked(server.stated.get("livenessProbe")))
        if server.pod is not None and found:
            yield server.raised(
                f"livenessProbe of {server.name} asks {found[0]}, which is 400 while a model is reloaded, and the "
                "container is killed for it; ask /v2/health/live",
                "livenessProbe",
            )

    return of_each_server(deployment, look)


@rule(
    "MY703",
    Severity.WARNING,
    summary="a server that nothing asks whether it answers",
    mend="Add a health check that infers (Compose) or a readinessProbe (Kubernetes).",
    verdict=Verdict.UNSEEN,
)
def no_probe(deployment: Deployment) -> Findings:
    """Requests are sent to a server that still loads, or whose models all fail, and nobody is told.

    In Compose this is said of NVIDIA's own image, which has no health check; an image of yours may have one.
    """

    def look(server: Server) -> Iterator[Raised]:
        if not server.is_whole:
            return
        if server.pod is not None and not server.stated.get("readinessProbe"):
            yield server.raised(
                f"{server.name} has no readinessProbe: requests reach it while it loads; add one that infers", "name"
            )
        check = as_mapping(server.stated.get("healthcheck"))
        is_bare = not check or check.get("disable") is True or check.get("test") in ("NONE", ["NONE"])
        if server.pod is None and is_bare and triton_image(server)[0] == NVIDIAS_IMAGE and "build" not in server.stated:
            yield server.raised(
                f"{server.name} has no healthcheck: nobody sees that its models do not answer; add one that infers"
            )

    return of_each_server(deployment, look)
