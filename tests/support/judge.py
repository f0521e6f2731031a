"""The server's verdict: which models of small repositories the embedded Triton loads, and why it refuses the others.

A judge keeps one Triton running and lays one repository after the other before it. A config that the core refuses
costs a millisecond; one that is served costs a Python process, most of whose second and a half is waiting, so several
judges work side by side. A model that is the same in the next repository stays loaded.
"""

from __future__ import annotations

import enum
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import final

from modelyard_server.errors import ModelControlError, ModelsNotReadyError, PortInUseError, ServerError
from modelyard_server.log import last_errors, load_failures, one_line, read_log
from modelyard_server.process import ServerOptions, TritonServer, free_ports
from modelyard_server.protocol import control_model, repository_index
from modelyard_server.readiness import READY, UNLOADING
from modelyard_server.stubs import StallWatch, dead_stubs

LOAD_TIMEOUT_S = 40.0
UNLOAD_TIMEOUT_S = 15.0
POLL_S = 0.02
# A crash of Triton 2.51 may be its own: it is seen now and then when models come and go quickly, and in up to every
# second load of a model whose warmup fails.
ATTEMPTS = 8
# The one model that a server is started over; it has no version, so it is never served.
IDLE = "idle"


class Outcome(enum.Enum):
    """What became of a model."""

    LOADS = "loads"
    REFUSES = "refuses"
    HANGS = "hangs"
    CRASHES = "crashes"


@dataclass(frozen=True)
class Verdict:
    """What Triton says of one model.

    Attributes:
        outcome: what became of it.
        reason: Triton's own words, out of the log where only that has them; empty where it loads.
    """

    outcome: Outcome
    reason: str = ""

    @property
    def loads(self) -> bool:
        """Whether requests can be sent."""
        return self.outcome is Outcome.LOADS


@dataclass(frozen=True)
class Case:
    """A repository that is to be judged.

    Attributes:
        repository: a folder of models.
        models: those that Triton is asked to load, in this order; the others lie beside them.
    """

    repository: Path
    models: tuple[str, ...]


class _Gone(Exception):
    """Triton hangs or has crashed; a new one is needed."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


@final
class Judge:
    """One Triton, asked about one repository after the other; to be left as a context manager.

    Args:
        folder: an empty or missing one of its own.
        server_arguments: of tritonserver, as the linter is told them; where the repository is, the judge decides. None:
            those of `modelyard serve`.
    """

    def __init__(self, folder: Path, server_arguments: Sequence[str] | None = None) -> None:
        self._repository = folder
        self._arguments = server_arguments
        self._server: TritonServer | None = None
        self._standing: dict[str, str] = {}
        self._loaded: set[str] = set()

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def verdicts(self, case: Case) -> dict[str, Verdict]:
        """What Triton says of each model that a case asks about.

        A Triton that hangs or crashes over it is replaced, and asked again: only what happens each time is said.
        """
        for attempt in range(ATTEMPTS):
            found: dict[str, Verdict] = {}
            try:
                self._lay_out(case.repository)
                for name in case.models:
                    found[name] = self._load(name)
            except _Gone as gone:
                self._stop()
                verdict = Verdict(gone.outcome, str(gone))
                if attempt + 1 == ATTEMPTS or gone.outcome is Outcome.HANGS:
                    return {name: found.get(name, verdict) for name in case.models}
            else:
                return found
        raise AssertionError("unreachable")

    def _lay_out(self, repository: Path) -> None:
        """Puts a case's models into the served repository; those that stand there unchanged stay loaded."""
        wanted = {path.name: _digest(path) for path in repository.iterdir() if path.is_dir()}
        server = self._running()
        kept = {name for name, digest in self._standing.items() if wanted.get(name) == digest}
        gone = self._standing.keys() - kept
        if gone:
            gone |= {name for name in kept if _is_ensemble(self._repository / name)}
        for name in gone:
            with suppress(ModelControlError):
                self._control(server, name, "unload", UNLOAD_TIMEOUT_S)
        self._wait_until_unloaded(server, gone)
        for name in gone:
            shutil.rmtree(self._repository / name)
        for name in wanted.keys() - (kept - gone):
            # Not the times of the files: Triton takes a model for unchanged by them.
            shutil.copytree(repository / name, self._repository / name, symlinks=True, copy_function=shutil.copy)
        self._standing = wanted
        self._loaded -= gone

    def _load(self, name: str) -> Verdict:
        if name in self._loaded:
            return Verdict(Outcome.LOADS)
        server = self._running()
        offset = server.log_path.stat().st_size
        try:
            self._control(server, name, "load", LOAD_TIMEOUT_S)
        except ModelControlError as error:
            logged = load_failures(read_log(server.log_path, offset))
            reason = logged.get(name) or "; ".join(logged.values()) or one_line(str(error))
            return Verdict(Outcome.REFUSES, reason)
        states = [row for row in repository_index(server.http_url) if row.name == name]
        if any(row.state == READY for row in states):
            self._loaded.add(name)
            return Verdict(Outcome.LOADS)
        return Verdict(Outcome.REFUSES, "; ".join(f"{row.state} {row.reason}" for row in states) or "not in the index")

    def _control(self, server: TritonServer, name: str, verb: str, timeout_s: float) -> None:
        watch = StallWatch(server.state, dead_stubs(server.state))

        def alarm() -> None:
            if watch.is_stalled():
                raise _Gone(Outcome.HANGS, "Triton waits forever for a Python process that died")

        try:
            control_model(server.http_url, name, verb, timeout_s, alarm)
        except ModelControlError:
            raise
        except ServerError as error:
            raise self._gone(server, str(error)) from error

    def _wait_until_unloaded(self, server: TritonServer, names: Iterable[str]) -> None:
        """Triton answers before a model is gone, and does not always survive the next load while it goes."""
        deadline, waiting = time.monotonic() + UNLOAD_TIMEOUT_S, set(names)
        while waiting:
            try:
                rows = repository_index(server.http_url)
            except ServerError as error:
                raise self._gone(server, str(error)) from error
            waiting = {row.name for row in rows if row.state in (READY, UNLOADING)} & waiting
            if waiting and time.monotonic() > deadline:
                raise _Gone(Outcome.HANGS, f"{', '.join(sorted(waiting))} cannot be unloaded")
            time.sleep(POLL_S if waiting else 0)

    def _gone(self, server: TritonServer, said: str) -> _Gone:
        time.sleep(0.5)  # the supervisor writes down how Triton ended
        log = read_log(server.log_path)
        if "tritonserver ended by itself" in log:
            return _Gone(Outcome.CRASHES, last_errors(log))
        return _Gone(Outcome.HANGS, said)

    def _running(self) -> TritonServer:
        if self._server is None:
            self._standing, self._loaded = {}, set()
            self._server = _started(self._repository, self._arguments)
        return self._server

    def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()
        shutil.rmtree(self._repository, ignore_errors=True)


@final
class Panel:
    """Several judges side by side; to be left as a context manager.

    Args:
        folder: an empty or missing one of their own.
        judges: how many.
        server_arguments: of each, as in `Judge`.
    """

    def __init__(self, folder: Path, judges: int, server_arguments: Sequence[str] | None = None) -> None:
        self._judges = [Judge(folder / str(number), server_arguments) for number in range(judges)]

    def __enter__(self) -> Panel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with ThreadPoolExecutor(len(self._judges)) as pool:
            for _ in pool.map(lambda judge: judge.__exit__(kind, error, traceback), self._judges):
                pass

    def verdicts(self, cases: Sequence[Case], prepare: Callable[[Case], None] | None = None) -> Iterator[Verdicts]:
        """What Triton says of each case, in the order of the cases, each as soon as it and those before it are judged.

        Args:
            cases: each goes to the judge that is free.
            prepare: called with a case just before it is judged, such as to write its files.
        """
        free: SimpleQueue[Judge] = SimpleQueue()
        for judge in self._judges:
            free.put(judge)

        def judged(case: Case) -> Verdicts:
            judge = free.get()
            try:
                if prepare is not None:
                    prepare(case)
                return judge.verdicts(case)
            finally:
                free.put(judge)

        with ThreadPoolExecutor(len(self._judges)) as pool:
            yield from pool.map(judged, cases)


Verdicts = dict[str, Verdict]


def _started(repository: Path, arguments: Sequence[str] | None) -> TritonServer:
    """A Triton over a repository that holds nothing that it could serve."""
    given = dict(argument.partition("=")[::2] for argument in arguments or ())
    given.pop("--model-repository", None)
    config_name = given.pop("--model-config-name", None)
    cache = given.pop("--cache-config", "local,size=0")
    (repository / IDLE / "configs").mkdir(parents=True, exist_ok=True)
    # With a version: a server is not started over a repository of which nothing is built.
    (repository / IDLE / "1").mkdir(exist_ok=True)
    if config_name:
        (repository / IDLE / "configs" / f"{config_name}.pbtxt").touch()
    options = ServerOptions(
        repository,
        config_name=config_name,
        exit_timeout_s=2,
        arguments=tuple("=".join(argument) for argument in given.items()),
    )
    if arguments is not None:
        options = replace(options, response_cache_bytes=int(cache.rpartition("size=")[2]))
    server = _on_free_ports(options)
    try:
        with suppress(ModelsNotReadyError):
            server.wait_ready()
    except BaseException:
        server.stop()
        raise
    return server


def _on_free_ports(options: ServerOptions) -> TritonServer:
    """A server that was started; a port that was free may be taken meanwhile by another judge's."""
    for _ in range(20):
        http_port, grpc_port, metrics_port = free_ports(3)
        server = TritonServer(replace(options, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port))
        with suppress(PortInUseError):
            server.start()
            return server
    raise AssertionError("no free ports")


def _is_ensemble(folder: Path) -> bool:
    """Whether a model may have steps that are other models; then it goes when one of them does."""
    with suppress(OSError):
        return b"ensemble" in (folder / "config.pbtxt").read_bytes()
    return False


def _digest(folder: Path) -> str:
    """Of a model's folder: the names, links and contents of all that is in it."""
    digest = hashlib.sha256()
    for path, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted((*folders, *files)):
            file = Path(path, name)
            digest.update(f"{file.relative_to(folder)}\0".encode("utf-8", "surrogateescape"))
            if file.is_symlink():
                digest.update(str(file.readlink()).encode("utf-8", "surrogateescape"))
            elif file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()
