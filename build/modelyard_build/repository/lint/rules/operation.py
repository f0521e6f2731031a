"""MY7xx: the files that start servers: probes, budgets for stopping and shared memory, flags, images, ports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.server_arguments import option, options
from modelyard_build.repository.lint.servers import EXIT_TIMEOUT_S, TRITONSERVER, Server, image_and_tag, servers, text
from modelyard_build.repository.lint.subjects import Deployment
from modelyard_build.repository.releases import DEFAULT_RELEASE

# Where NVIDIA publishes the image; what it holds is known.
NVIDIAS_IMAGE = "nvcr.io/nvidia/tritonserver"
# Docker's default for /dev/shm, and Kubernetes'.
DEFAULT_SHARED_MEMORY = 64 << 20
COMPOSE_GRACE_S = 10.0
KUBERNETES_GRACE_S = 30.0
_ASKS_THE_SERVER = re.compile(r"/v2/health/(?:ready|live)|/v2/models/[^/\s\"']+(?:/versions/[^/\s\"']+)?/ready")
_ASKS_READY = re.compile(r"/v2/health/ready|/v2/models/[^/\s\"']+(?:/versions/[^/\s\"']+)?/ready")


def _once(found: Iterator[Raised]) -> Findings:
    """Each place once: services share what an anchor states."""
    seen: set[tuple[int, int]] = set()
    for raised in found:
        if (raised.start, raised.end) not in seen:
            seen.add((raised.start, raised.end))
            yield raised


def _each(deployment: Deployment, look: Callable[[Server], Iterator[Raised]]) -> Findings:
    return _once(raised for server in servers(deployment) for raised in look(server))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _flag(server: Server, name: str) -> str | None:
    return option(server.arguments or (), name)


def _is_true(value: str | None, default: bool) -> bool:
    """As Triton reads a switch: `--name` alone is on."""
    if value is None:
        return default
    return value.lower() in ("", "1", "true", "on")


def _asked(probe: Any) -> str:
    """What a probe or health check asks, as one text."""
    stated = _mapping(probe)
    test = stated.get("test", _mapping(stated.get("exec")).get("command", ""))
    words = " ".join(map(text, test)) if isinstance(test, list) else text(test)
    return f"{text(_mapping(stated.get('httpGet')).get('path'))} {words}"


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

    return _each(deployment, look)


def _only_asks(server: Server, field: str, probe: Any) -> Iterator[Raised]:
    asked = _asked(probe)
    found = _ASKS_THE_SERVER.search(asked)
    by = found[0] if found else next((f"{kind}:" for kind in ("grpc", "tcpSocket") if kind in _mapping(probe)), "")
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

    return _each(deployment, look)


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
        check = _mapping(server.stated.get("healthcheck"))
        is_bare = not check or check.get("disable") is True or check.get("test") in ("NONE", ["NONE"])
        if server.pod is None and is_bare and _image(server)[0] == NVIDIAS_IMAGE and "build" not in server.stated:
            yield server.raised(
                f"{server.name} has no healthcheck: nobody sees that its models do not answer; add one that infers"
            )

    return _each(deployment, look)


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
        if _flag(server, "model-control-mode") == "poll":
            yield server.raised_at_argument(
                f"{server.name} polls its repository, and loads versions that are half copied; use "
                "--model-control-mode=explicit",
                "model-control-mode",
            )

    return _each(deployment, look)


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
        stated = _flag(server, "exit-timeout-secs")
        drain = float(EXIT_TIMEOUT_S) if stated is None else _number(stated)
        grace, raise_at = (_compose_grace if server.pod is None else _pod_grace)(server)
        if drain is not None and grace is not None and grace <= drain:
            yield raise_at(
                f"{server.name} is killed {grace:g} s after SIGTERM, and may answer requests for {drain:g} s "
                "(--exit-timeout-secs); make the grace period longer than that"
            )

    return _each(deployment, look)


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
    grace = _number(pod[field]) if field in pod else KUBERNETES_GRACE_S
    hook = _mapping(_mapping(server.stated.get("lifecycle")).get("preStop"))
    words = _items(_mapping(hook.get("exec")).get("command"))
    seconds = _mapping(hook.get("sleep")).get("seconds", words[1] if len(words) == 2 and words[0] == "sleep" else 0)
    slept = _number(seconds) or 0.0
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


def _number(value: Any) -> float | None:
    stated = text(value)
    return float(stated) if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", stated) else None


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

    return _each(deployment, look)


def _compose_shared_memory(server: Server) -> tuple[int | None, tuple[str, ...]]:
    """The size of /dev/shm and the field that says it; None: it cannot be read, or is the host's."""
    stated = server.stated
    if "shm_size" in stated:
        return _bytes(stated["shm_size"]), ("shm_size",)
    mounts = [*_mounts(server)] + [text(item) for item in _listed(stated.get("tmpfs"))]
    if "ipc" in stated or any(mount.partition(":")[0] == "/dev/shm" for mount in mounts):  # noqa: S108 (a container's)
        return None, ()
    return DEFAULT_SHARED_MEMORY, ()


def _pod_shared_memory(server: Server) -> tuple[int | None, tuple[str, ...]]:
    for mount in _items(server.stated.get("volumeMounts")):
        if _mapping(mount).get("mountPath") in ("/dev/shm", "/dev/shm/"):  # noqa: S108 (a container's)
            volumes = [_mapping(volume) for volume in _items((server.pod or {}).get("volumes"))]
            found = next((volume for volume in volumes if volume.get("name") == mount.get("name")), {})
            limit = _mapping(found.get("emptyDir")).get("sizeLimit")
            return (None if limit is None else _bytes(limit)), ("volumeMounts",)
    return (None if (server.pod or {}).get("hostIPC") is True else DEFAULT_SHARED_MEMORY), ("name",)


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else _items(value)


_SIZE = re.compile(r"([0-9]{1,18})\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)


def _bytes(size: Any) -> int | None:
    """A size of Compose (`1gb`) or Kubernetes (`1Gi`); None where it is none."""
    found = _SIZE.fullmatch(text(size).strip())
    return int(found[1]) << 10 * " kmgt".index(found[2].lower() or " ") if found else None


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
        if not _is_true(_flag(server, "strict-readiness"), default=True):
            yield server.raised_at_argument(
                f"{server.name} says that it is ready before its models are; leave --strict-readiness out",
                "strict-readiness",
            )

    return _each(deployment, look)


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
        _, tag = _image(server)
        found = re.match(r"([0-9]{2})\.([0-9]{2})(?![0-9.])", tag)
        if found and f"{found[1]}.{found[2]}" < DEFAULT_RELEASE:
            yield server.raised(
                f"{server.name} runs release {found[0]}, which a single request can end or take over; use "
                f"{DEFAULT_RELEASE} or later",
                "image",
            )

    return _each(deployment, look)


def _image(server: Server) -> tuple[str, str]:
    """The image's name and its tag, of one that is called tritonserver; empty otherwise."""
    name, tag = image_and_tag(server.image)
    return (name, tag) if name.rpartition("/")[2] == TRITONSERVER else ("", "")


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
        restricts = [name for name in ("http-restricted-api", "grpc-restricted-protocol") if _flag(server, name)]
        if server.pod is not None or _flag(server, "model-control-mode") != "explicit" or restricts:
            return
        ours = (_flag(server, "http-port") or "8000", _flag(server, "grpc-port") or "8001")
        for index, port in enumerate(_items(server.stated.get("ports"))):
            address, target = _published(port)
            exposed = next((each for each in ours if _is_within(each, target)), "")
            if exposed and not _is_loopback(address):
                yield server.raised(
                    f"port {exposed} of {server.name} is published on {address or 'every address'}, and whoever "
                    f"reaches it may load and unload models; write 127.0.0.1:{exposed}:{exposed}, and a proxy",
                    "ports",
                    index,
                )

    return _each(deployment, look)


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
    low, high, wanted = _number(first), _number(last or first), _number(port)
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
        level = _flag(server, "log-verbose")
        if level is not None and (_number(level) or 0) > 0:
            yield server.raised_at_argument(
                f"{server.name} logs every request (--log-verbose={level}); leave it out, and turn it on for a while "
                "with POST /v2/logging",
                "log-verbose",
            )

    return _each(deployment, look)


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
        if not server.is_whole or _image(server)[0] != NVIDIAS_IMAGE or "build" in server.stated:
            return
        mounted = [target.rstrip("/") for target in _mounts(server)]
        for name in ("model-repository", "model-store"):
            for path in options(server.arguments or (), name):
                inside = any(path.rstrip("/") == target or path.startswith(f"{target}/") for target in mounted)
                if path.startswith("/") and not inside and "$" not in path:
                    yield server.raised_at_argument(
                        f"nothing is mounted at {path}, where {server.name} looks for models; mount the "
                        "repository there",
                        name,
                    )

    return _each(deployment, look)


def _mounts(server: Server) -> Iterator[str]:
    """Where in the container something is mounted."""
    if server.pod is not None:
        for mount in map(_mapping, _items(server.stated.get("volumeMounts"))):
            yield text(mount.get("mountPath"))
        return
    for volume in _items(server.stated.get("volumes")):
        if isinstance(volume, dict):
            yield text(volume.get("target"))
        else:
            parts = text(volume).split(":")
            yield parts[1] if len(parts) > 1 else parts[0]


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
        if _number(_flag(server, "exit-timeout-secs")) == 0:
            yield server.raised_at_argument(
                f"{server.name} drops its requests when it is stopped (--exit-timeout-secs=0); give it the time of the "
                "longest request",
                "exit-timeout-secs",
            )

    return _each(deployment, look)
