"""What one run of perf_analyzer printed, as data. Pure.

The text is perf_analyzer 2.50.0's with `-v` (ReportClientSideStats and ReportServerSideStats in inference_profiler.cc).
Its CSV is not used: for an ensemble it holds the ensemble's own queue and compute, not its composing models'.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_WINDOW = re.compile(r"^\s*Pass \[\d+\] throughput: (\S+) infer/sec\. Avg latency: (\d+) usec")
_CLIENT_FIELD = re.compile(r"^\s*(Request count|Throughput|Avg latency|p\d+ latency): (\S+)")
_MODEL = re.compile(r"^\s*(\S+), version: (\S+)\s*$")
_MODEL_FIELD = re.compile(r"^\s*(Inference count|Execution count|Cache hit count|Successful request count): (\d+)")
_MODEL_LATENCY = re.compile(r"^\s*Avg request latency: \d+ usec \((.*)\)")
_DURATION = re.compile(r"([a-z/ ]+?) (\d+) usec")
_THREAD_ERROR = re.compile(r"^Thread \[\d+\] had error: (.*)$", re.MULTILINE)
_WARNING = re.compile(r"^\s*\[WARNING\] (.*)$", re.MULTILINE)
_UNLOADABLE = re.compile(r"error while loading shared libraries: .*|version `GLIBC[^']*' not found.*")


@dataclass(frozen=True)
class Window:
    """One measurement window.

    Attributes:
        throughput: inferences a second.
        latency_avg_ms: mean latency of the requests that ended in it, in milliseconds.
    """

    throughput: float
    latency_avg_ms: float


@dataclass(frozen=True)
class ModelTimes:
    """The server's own statistics of one model over the three windows; milliseconds are means a request.

    Attributes:
        model: its name.
        version: its version; empty where perf_analyzer does not print it (the model measured itself).
        requests: requests that succeeded.
        inferences: items inferred, a batch of 8 counting 8.
        executions: runs of the model; less than `inferences` where Triton batched.
        cache_hits: requests answered out of the response cache.
        queue_ms: waiting in the scheduler. For an ensemble: the sum over its composing models.
        compute_ms: input, inference and output copies together; with the response cache on, its time is in it.
        compute_input_ms: copying inputs; None for an ensemble, and with the response cache on.
        compute_infer_ms: the backend's run; None likewise.
        compute_output_ms: copying outputs; None likewise.
    """

    model: str
    version: str = ""
    requests: int = 0
    inferences: int = 0
    executions: int = 0
    cache_hits: int = 0
    queue_ms: float | None = None
    compute_ms: float | None = None
    compute_input_ms: float | None = None
    compute_infer_ms: float | None = None
    compute_output_ms: float | None = None

    @property
    def batch_size(self) -> float | None:
        """Mean items an execution (inferences / executions); None where nothing was executed."""
        return self.inferences / self.executions if self.executions else None


@dataclass(frozen=True)
class Latency:
    """Latency of the requests of three windows as the client saw it, in milliseconds; p50 to p99 are percentiles."""

    avg_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ClientTimes:
    """What perf_analyzer's clients saw over the three windows.

    Attributes:
        requests: requests that ended in them.
        throughput: inferences a second: requests times their batch size.
        latency: from before a request is sent until its answer is there.
    """

    requests: int
    throughput: float
    latency: Latency


@dataclass(frozen=True)
class Report:
    """One run. `client` and `server` are None where perf_analyzer gave up before its report."""

    windows: tuple[Window, ...] = ()
    client: ClientTimes | None = None
    server: ModelTimes | None = None
    composing: tuple[ModelTimes, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass
class _Sections:
    """The report's `key: value` lines by the section that they stand in."""

    client: dict[str, str] = field(default_factory=dict)
    models: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


def parse_window(line: str) -> Window | None:
    """The window that a line of the progress output tells of, if any."""
    found = _WINDOW.match(line)
    return Window(float(found[1]), int(found[2]) / 1000) if found else None


def parse(stdout: str, model: str) -> Report:
    """Reads the whole standard output of one run that measured `model`."""
    lines = stdout.splitlines()
    sections = _sections(lines, model)
    models = [_model_times(name, version, fields) for name, version, fields in sections.models]
    return Report(
        windows=tuple(window for window in map(parse_window, lines) if window),
        client=_client_times(sections.client) if "Throughput" in sections.client else None,
        server=models[0] if models else None,
        composing=tuple(models[1:]),
        warnings=tuple(_WARNING.findall(stdout)),
    )


def _sections(lines: list[str], model: str) -> _Sections:
    sections = _Sections()
    fields: dict[str, str] | None = None
    for line in lines:
        heading = _MODEL.match(line)
        if line.strip() == "Client:":
            fields = sections.client
        elif line.strip() == "Server:" or heading:
            fields = {}
            sections.models.append((heading[1], heading[2], fields) if heading else (model, "", fields))
        elif fields is not None:
            fields.update(_fields(line, client=fields is sections.client))
    return sections


def _fields(line: str, *, client: bool) -> Iterator[tuple[str, str]]:
    found = (_CLIENT_FIELD if client else _MODEL_FIELD).match(line)
    if found:
        yield found[1], found[2]
    latency = None if client else _MODEL_LATENCY.match(line)
    if latency:
        for name, microseconds in _DURATION.findall(latency[1]):
            yield name.strip(), microseconds


def _client_times(fields: dict[str, str]) -> ClientTimes:
    def milliseconds(name: str) -> float:
        return int(fields[f"{name} latency"]) / 1000

    latency = Latency(*(milliseconds(name) for name in ("Avg", "p50", "p90", "p95", "p99")))
    return ClientTimes(int(fields["Request count"]), float(fields["Throughput"]), latency)


def _model_times(model: str, version: str, fields: dict[str, str]) -> ModelTimes:
    def milliseconds(name: str) -> float | None:
        return int(fields[name]) / 1000 if name in fields else None

    parts = [milliseconds(f"compute {part}") for part in ("input", "infer", "output")]
    total = sum(part for part in parts if part is not None) if any(part is not None for part in parts) else None
    for name in ("compute", "cache hit/miss"):
        total = milliseconds(name) if name in fields else total
    return ModelTimes(
        model=model,
        version=version,
        requests=int(fields.get("Successful request count", 0)),
        inferences=int(fields.get("Inference count", 0)),
        executions=int(fields.get("Execution count", 0)),
        cache_hits=int(fields.get("Cache hit count", 0)),
        queue_ms=milliseconds("queue"),
        compute_ms=total,
        compute_input_ms=parts[0],
        compute_infer_ms=parts[1],
        compute_output_ms=parts[2],
    )


def request_errors(stderr: str) -> tuple[str, ...]:
    """The requests that failed, one message each: in synchronous mode a thread ends at its first failure."""
    return tuple(message.strip() for message in _THREAD_ERROR.findall(stderr))


def unloadable(stderr: str) -> str | None:
    """What the dynamic loader found missing, where perf_analyzer could not even start."""
    found = _UNLOADABLE.search(stderr)
    return found[0] if found else None
