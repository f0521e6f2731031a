"""MY705 and MY712: the time that a server has to stop."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.server_settings import as_items, as_mapping, as_number, flag, of_each_server
from modelyard_build.repository.lint.servers import EXIT_TIMEOUT_S, Server, text
from modelyard_build.repository.lint.subjects import Deployment

COMPOSE_GRACE_S = 10.0
KUBERNETES_GRACE_S = 30.0


@rule(
    "MY705",
    Severity.WARNING,
    summary="the server is killed before it has answered",
    mend="Make stop_grace_period or terminationGracePeriodSeconds longer than --exit-timeout-secs.",
    verdict=Verdict.UNSEEN,
)
def killed_before_it_has_drained(deployment: Deployment) -> Findings:
    """After SIGTERM Triton answers the requests that it has, for up to `--exit-timeout-secs`, 30 by default.

    Docker kills a container after 10 seconds where no `stop_grace_period` is stated, Kubernetes after 30, which a
    `preStop` hook takes its time from.
    """

    def look(server: Server) -> Iterator[Raised]:
        if not server.is_whole or server.arguments is None:
            return
        stated = flag(server, "exit-timeout-secs")
        drain = float(EXIT_TIMEOUT_S) if stated is None else as_number(stated)
        grace, raise_at = (_compose_grace if server.pod is None else _pod_grace)(server)
        if drain is not None and grace is not None and grace <= drain:
            yield raise_at(
                f"{server.name} is killed {grace:g} s after SIGTERM, and may answer requests for {drain:g} s "
                "(--exit-timeout-secs); make the grace period longer than that"
            )

    return of_each_server(deployment, look)


Grace = tuple[float | None, Callable[[str], Raised]]


def _compose_grace(server: Server) -> Grace:
    """How long Compose waits, and where that is said; None: it cannot be read."""
    field = "stop_grace_period"
    grace = _seconds(server.stated[field]) if field in server.stated else COMPOSE_GRACE_S
    return grace, lambda message: server.raised(message, field)


def _pod_grace(server: Server) -> Grace:
    """How long Kubernetes waits, less what the preStop hook sleeps."""
    field = "terminationGracePeriodSeconds"
    pod = server.pod or {}
    grace = as_number(pod[field]) if field in pod else KUBERNETES_GRACE_S
    hook = as_mapping(as_mapping(server.stated.get("lifecycle")).get("preStop"))
    words = as_items(as_mapping(hook.get("exec")).get("command"))
    seconds = as_mapping(hook.get("sleep")).get("seconds", words[1] if len(words) == 2 and words[0] == "sleep" else 0)
    slept = as_number(seconds) or 0.0
    return None if grace is None else grace - slept, lambda message: server.raised_of_pod(message, field)


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(duration: Any) -> float | None:
    """A duration of Compose such as `1m30s`; None where it is none."""
    stated = text(duration)
    parts = _DURATION.findall(stated)
    if not parts or "".join(number + unit for number, unit in parts) != stated:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


@rule(
    "MY712",
    Severity.WARNING,
    summary="requests in flight are dropped when the server stops",
    mend="Give --exit-timeout-secs as long as the longest request takes, or leave it out for 30.",
    verdict=Verdict.UNSEEN,
)
def drops_requests_when_it_stops(deployment: Deployment) -> Findings:
    """With `--exit-timeout-secs=0` Triton ends at once at SIGTERM, and every request in it fails.

    A rolling update then fails requests on each server that it replaces.
    """

    def look(server: Server) -> Iterator[Raised]:
        if as_number(flag(server, "exit-timeout-secs")) == 0:
            yield server.raised_at_argument(
                f"{server.name} drops its requests when it is stopped (--exit-timeout-secs=0); give it the time of the "
                "longest request",
                "exit-timeout-secs",
            )

    return of_each_server(deployment, look)
