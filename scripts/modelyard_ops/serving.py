"""How the commands show an embedded Triton: its models, its log, the progress of its installation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from modelyard_ops.console import stderr

if TYPE_CHECKING:
    from modelyard_server.readiness import ModelState

LOG_POLL_S = 0.1
STATE_STYLES = {"READY": "green", "LOADING": "yellow", "UNLOADING": "yellow"}
LEVEL_STYLES = {"E": "red", "F": "red", "W": "yellow"}
NO_GPU = (
    "Unable to allocate pinned system memory",
    "CUDA memory pool disabled",
    "CudaDriverHelper has not been initialized",
    "Failed to initialize NVML",
    "DCGM unable to start",
)
"""What Triton says on every machine without a GPU."""


def models_table(states: Iterable[ModelState]) -> Table:
    """Models, versions, states and reasons."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "version", "state"):
        table.add_column(column, justify="right" if column == "version" else "left", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in states:
        state = Text(row.state, style=STATE_STYLES.get(row.state, "red"))
        table.add_row(row.name, row.version or "-", state, Text(row.reason))
    return table


def show_left_out(models: Mapping[str, str], repository: Path, config_name: str | None) -> None:
    """One line on stderr about what is not served because it is not built; none where all is.

    Args:
        models: those that are left out, with the reason.
        repository: which holds them.
        config_name: which configs are served.
    """
    if models:
        from modelyard_server.built import to_build

        command = to_build(repository, models, config_name)
        line = f"not built, and left out: {', '.join(models)}. To build: {command}"
        stderr.print(line, style="yellow", markup=False, soft_wrap=True)


@contextmanager
def installation_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr for what `install_triton` and `install_perf_analyzer` report; none where they don't."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            progress.start()
            tasks[what] = progress.add_task(what, total=total)
            if progress.disable:
                stderr.print(what)
        progress.update(tasks[what], completed=done)

    try:
        yield report
    finally:
        progress.stop()


@contextmanager
def streamed_log(path: Path) -> Iterator[None]:
    """Shows a server's log on stderr, from its beginning, while the block runs and to the last line."""
    done = threading.Event()
    thread = threading.Thread(target=_stream, args=(path, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _stream(path: Path, done: threading.Event) -> None:
    """Follows a file; a line is shown once it is complete."""
    offset, rest, last = 0, b"", False
    while not last:
        last = done.wait(LOG_POLL_S)
        with path.open("rb") as log:
            log.seek(offset)
            chunk = log.read()
        offset += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            _show(line.decode(errors="replace"))


def _show(line: str) -> None:
    """One line, readable: the time and the message; Triton's tables and its complaints about a missing GPU go."""
    from modelyard_server.log import parse_line

    record = parse_line(line)
    if not record.message or record.message.startswith(("|", "+-")) or any(text in record.message for text in NO_GPU):
        return
    time = record.time.partition("T")[2].rstrip("Z") or record.time
    text = Text(f"{time} ".lstrip(), style="dim")
    text.append(record.message.rstrip(), style=LEVEL_STYLES.get(record.level, ""))
    stderr.print(text, soft_wrap=True)
