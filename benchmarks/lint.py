"""What linting takes: a repository of 1,000 models, and one model from the command line.

    python benchmarks/lint.py

The repository has 10,000 files, with real ONNX graphs, models in Python, manifests, warm-up samples and ensembles,
and is sound: nothing is found in it. Rounds are interleaved, so that what else the machine does falls on all; the
fastest of each is reported beside the median, for a busy machine only adds.

lint        `modelyard lint REPOSITORY`, started as a person starts it, files in the page cache
cold        the same after the kernel was asked to drop the files' pages (names and sizes stay cached)
limit       what nobody who does this in Python gets below: in one process that runs already, every folder is listed,
            every file that the linter reads is read, and each config goes through protobuf's own text_format.Parse
one model   `modelyard lint REPOSITORY/MODEL`, beside what the interpreter alone takes to start and to import protobuf

The exit status is 1 where lint takes more than 2 s, or one model more than 0.25 s, on the fastest round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from google.protobuf import text_format

from measure.lint_repository import write_repository
from modelyard_build.repository.model_config import ModelConfig

MAX_SECONDS, MAX_SECONDS_ONE = 2.0, 0.25
COMMAND = [sys.executable, "-c", "from modelyard_ops.cli import main; main()", "lint"]
# What the linter opens of a repository; of an artefact it looks at the header only.
READ = {".pbtxt", ".py", ".json", ".onnx", ".txt"}
HEADER = 1 << 16


def command(*arguments: str) -> None:
    """Runs a command that must find nothing wrong."""
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr}")


def limit(repository: Path) -> None:
    """Lists, reads and parses what must be."""
    for folder, _, names in os.walk(repository):
        for name in names:
            path = Path(folder, name)
            path.stat()
            if path.suffix not in READ:
                continue
            with path.open("rb") as file:
                content = file.read(HEADER)
            if path.suffix == ".pbtxt":
                text_format.Parse(content.decode(), ModelConfig())


def drop_pages(repository: Path) -> None:
    """Asks the kernel to forget what the files hold."""
    for folder, _, names in os.walk(repository):
        for name in names:
            descriptor = os.open(Path(folder, name), os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def seconds(work: Callable[[], None]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(repository: Path, rounds: int) -> dict[str, list[float]]:
    """The seconds of each round, by what was done."""
    one = next(path for path in sorted(repository.iterdir()) if path.name.endswith("encoder_0"))
    work: dict[str, Callable[[], None]] = {
        "lint": lambda: command(*COMMAND, str(repository)),
        "limit": lambda: limit(repository),
        "one model": lambda: command(*COMMAND, str(one)),
        "python": lambda: command(sys.executable, "-c", "pass"),
        "python with protobuf": lambda: command(sys.executable, "-c", "import google.protobuf.text_format"),
    }
    taken: dict[str, list[float]] = {name: [] for name in (*work, "cold")}
    work["lint"]()
    for number in range(rounds):
        for name, each in work.items():
            taken[name].append(seconds(each))
        drop_pages(repository)
        taken["cold"].append(seconds(work["lint"]))
        if sys.stderr.isatty():
            print(f"\r\033[Kround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return taken


def show(taken: dict[str, list[float]]) -> None:
    """A line for each, and the ratios."""
    for name, values in taken.items():
        print(f"{name:22} {min(values):7.3f} s fastest, {statistics.median(values):7.3f} s median")
    print(f"lint / limit           {min(taken['lint']) / min(taken['limit']):7.2f}")
    print(f"one model / python     {min(taken['one model']) / min(taken['python']):7.2f}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print the seconds of each round as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder, "model_repository")
        files = write_repository(repository, options.models)
        cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
        print(f"{options.models} models, {files} files, {cores} cores, load average {load:.1f}", file=sys.stderr)
        taken = measure(repository, options.rounds)
    if options.json:
        print(json.dumps(taken, indent=2))
    else:
        show(taken)
    sys.exit(min(taken["lint"]) > MAX_SECONDS or min(taken["one model"]) > MAX_SECONDS_ONE)


if __name__ == "__main__":
    main()
