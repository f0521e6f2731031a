"""Urgent requests under saturation: their p99 beside that of routine ones, and beside a queue without priorities.

    python benchmarks/priority.py
    python benchmarks/priority.py --routine 32 --urgent 1 --repository DIR

Many clients keep a routine request under way each, which is more than the system can answer; urgent ones come a few a
second, when they are due (a Poisson process, timed from then on), of priority level 1. The same load goes to the same
models once with the priority levels of their configs and once without (first come, first served). The limit is the
urgent requests alone. Rounds are interleaved, each beginning with another; the first one warms up.

A round's p99 of fewer than 100 requests is nearly its maximum: that of urgent ones is a hard figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from measure.generator import Generator
from measure.load_generator import Order
from measure.priority import RAMP_S, Report, Shared, Turn, first_come_first_served, report, share, show
from measure.progress import machine, progress
from measure.rounds import rotated
from measure.served import Served
from measure.system import parts_of, served_twice
from modelyard_build.assets import fetch
from modelyard_build.errors import BuildError
from modelyard_build.sources import pinned_assets
from modelyard_server.errors import ServerError

REPOSITORY = Path(__file__).parents[1] / "model_repository"
SYSTEM, URGENT_LEVEL, ITEMS = "imaging_triage", 1, 32


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--routine", type=int, default=64, help="clients that each keep a request under way")
    parser.add_argument("--urgent", type=float, default=3.0, help="requests a second")
    parser.add_argument("--rounds", type=int, default=6, help="at least 2")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each part of a round")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


class Benchmark:
    """The system, served twice: with priority levels, and without."""

    def __init__(self, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self.options = options
        parts = parts_of(SYSTEM)
        self.levels, self.plain = served_twice(parts, options.repository, first_come_first_served, folder, stack)
        self.urgent, self.routine = (stack.enter_context(Generator()) for _ in range(2))
        inputs = parts.ensemble.examples(fetch(pinned_assets(parts.ensemble), print), ITEMS)
        rows = [{name: array[at : at + 1] for name, array in inputs.items()} for at in range(ITEMS)]
        store = self.levels.store_request
        self.routine_files = [store(row, folder / f"routine{at}") for at, row in enumerate(rows)]
        self.urgent_files = [store(row, folder / f"urgent{at}", priority=URGENT_LEVEL) for at, row in enumerate(rows)]

    def report(self) -> Report:
        """Measures."""
        turns = []
        for number in range(self.options.rounds + 1):
            progress(f"round {number} of {self.options.rounds}")
            turns.append(self._turn(number))
        progress("")
        return report(SYSTEM, turns[1:])

    def _turn(self, number: int) -> Turn:
        parts: dict[str, Callable[[], Any]] = {
            "priorities": partial(self._shared, self.levels),
            "plain": partial(self._shared, self.plain),
            "alone": lambda: self.urgent.play(self._urgent_order(self.levels)),
        }
        return Turn(**{name: parts[name]() for name in rotated(parts, number)})

    def _shared(self, server: Served) -> Shared:
        seconds = self.options.seconds + RAMP_S
        routine = server.order(self.routine_files, self.options.routine, seconds)
        return share(self.urgent, self._urgent_order(server), self.routine, routine)

    def _urgent_order(self, server: Served) -> Order:
        return replace(server.order(self.urgent_files, 1, self.options.seconds), rate=self.options.urgent)


def main() -> None:
    """Measures and prints."""
    options = parse()
    print(
        f"{machine()}, {options.routine} "
        f"routine clients, {options.urgent:g} urgent requests/s, {options.rounds} rounds, interleaved",
        file=sys.stderr,
    )
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            found = Benchmark(options, Path(folder), stack).report()
    except (ServerError, BuildError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(asdict(found), indent=2) if options.json else show(found))


if __name__ == "__main__":
    main()
