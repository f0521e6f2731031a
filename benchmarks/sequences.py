"""Steps that keep state: requests a second and memory with 1, 32 and 512 live sequences, beside the step in process.

    python benchmarks/sequences.py demand_forecaster_daily
    python benchmarks/sequences.py speech_vad --sequences 1 64

Each sequence has a client of its own, which sends its requests one after the other: the first begins it, with the
history of a series or the first chunk of a voice, the others bring a day or 32 ms each. Beside it the same code runs in
this process, given the same requests in batches as large as Triton's, and with what it calls: no server, no client.
Rounds are interleaved, each beginning with another number; all sequences end with their part of a round.

The first round warms up, from few sequences to many; memory is read there, after each part, while its sequences are
live. Memory that was needed for a while is not always given back, so it counts the parts before it too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from measure.load_generator import Round
from measure.progress import machine, progress
from measure.repositories import linked
from measure.rounds import rotated
from measure.sequenced_systems import SYSTEMS
from measure.sequences import Memory, OwnSequences, Row, endings, memory, row, table
from measure.served import Served, own_configs
from modelyard_build.assets import fetch
from modelyard_build.errors import BuildError
from modelyard_build.model import composing
from modelyard_build.models import find
from modelyard_build.repository.hardware import hardware
from modelyard_build.sources import pinned_assets
from modelyard_server.errors import ServerError

REPOSITORY = Path(__file__).parents[1] / "model_repository"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=[*SYSTEMS])
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 32, 512], help="live at a time")
    parser.add_argument("--rounds", type=int, default=5, help="at least 2")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each part of a round")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


def models_of(name: str) -> list[str]:
    """A model and all that is served for it."""
    inner = [model for step in composing(find(name)) for model in models_of(step)]
    return [name, *inner]


class Benchmark:
    """A step, served and in this process."""

    def __init__(self, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self.options, self.counts = options, sorted(options.sequences)
        step, system = find(options.system), SYSTEMS[options.system]
        repository = linked(options.repository, models_of(options.system), folder / "repository")
        self.server = stack.enter_context(Served(repository, options.system, own_configs(repository)))
        requests = system.requests(fetch(pinned_assets(step), print))
        store = self.server.store_request
        self.files = [
            store(inputs, folder / f"{place}", sequence_start=not place) for place, inputs in enumerate(requests)
        ]
        # Begun and ended at once: after it the server has no sequence of that number.
        self.end = store(requests[0], folder / "end", sequence_start=True, sequence_end=True)
        own = system.step(options.repository, hardware().name)
        self.own = {count: OwnSequences(own, requests, count, step.max_batch_size) for count in self.counts}

    def rows(self) -> tuple[Memory, list[Row]]:
        """What the server holds before the first sequence, and a row for each number of them."""
        idle = self._held()
        rounds: defaultdict[int, list[Round]] = defaultdict(list)
        rates: defaultdict[int, list[float]] = defaultdict(list)
        held: dict[int, Memory] = {}
        for number in range(self.options.rounds + 1):
            progress(f"{self.options.system}: round {number} of {self.options.rounds}")
            for count in rotated(self.counts, number):
                played = self._served(count, held)
                rate = self.own[count].rate(self.options.seconds)
                if number:
                    rounds[count].append(played)
                    rates[count].append(rate)
        progress("")
        return idle, [row(count, rounds[count], rates[count], held[count]) for count in self.counts]

    def _served(self, count: int, held: dict[int, Memory]) -> Round:
        order = replace(self.server.order(self.files, count, self.options.seconds), endings=endings(count))
        played = self.server.play(order).client
        held.setdefault(count, self._held())
        self.server.play(replace(order, requests=[str(self.end)], seconds=0.0))
        return played

    def _held(self) -> Memory:
        return memory(self.server.pid, self.options.system)


def main() -> None:
    """Measures and prints."""
    options = parse()
    print(
        f"{machine()}, {options.rounds} rounds, interleaved",
        file=sys.stderr,
    )
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            idle, rows = Benchmark(options, Path(folder), stack).rows()
    except (ServerError, BuildError) as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps({"idle": asdict(idle), "rows": [asdict(each) for each in rows]}, indent=2))
    else:
        print(f"{options.system}\n{table(rows, idle)}")


if __name__ == "__main__":
    main()
