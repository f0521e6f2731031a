"""Each system from end to end: what serving it costs, what batching brings, what stands around the net.

    python benchmarks/systems.py
    python benchmarks/systems.py text_embedder image_classifier

Real items, one a request, over gRPC from one load generator, to the embedded Triton with the configs of this kind of
machine; texts are those that the net sees in its optimum length. Rounds are interleaved, each beginning with another:

served / in process   the whole system at saturation over the very artefact that its net is served as, in this process,
                      in full batches, on what the steps before it give. `less load` grants the load generator's cores,
                      as in serving_overhead.py.
on / off              the system with dynamic_batching in its configs over the same without.
operating point       latency with a batch of the optimum size under way for every instance.
around the net        what each other step computes a row, as a share of what the net does (Triton's statistics,
                      queues apart), at saturation. The exit status is 1 where one has more than 15 %, unless the net
                      takes less than 2 ms a row.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from measure.overhead import Load
from measure.progress import machine, progress
from measure.rounds import rotated
from measure.served import Tensors
from measure.system import (
    InProcess,
    Parts,
    Report,
    Turn,
    alike,
    parts_of,
    report,
    served_candidate,
    served_twice,
    show,
    without_batching,
)
from modelyard_build.assets import fetch
from modelyard_build.errors import BuildError
from modelyard_build.repository import versions
from modelyard_build.repository.hardware import hardware
from modelyard_build.sources import pinned_assets
from modelyard_server.backend_support.threads import available_cores
from modelyard_server.errors import ServerError

REPOSITORY = Path(__file__).parents[1] / "model_repository"
SYSTEMS = (
    "text_embedder",
    "ticket_classifier",
    "passage_embedder",
    "image_classifier",
    "imaging_triage",
    "demand_forecaster",
)
# Of which those that are alike are used, at most so many.
POOL, ITEMS = 400, 64


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}; default: all built")
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--rounds", type=int, default=6, help="at least 2")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each part of a round")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


class Benchmark:
    """One system, served twice: as it is, and without dynamic batching."""

    def __init__(self, parts: Parts, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self.parts, self.options = parts, options
        repository = options.repository
        self.candidate = served_candidate(repository, parts.net, hardware().name)
        self.batched, self.unbatched = served_twice(parts, repository, without_batching, folder, stack)
        rows, given = self._items()
        self.requests = [self.batched.store_request(row, folder / f"{number}") for number, row in enumerate(rows)]
        self.in_process = InProcess(self.candidate, repository, parts.net, given)
        config = self.batched.config(parts.net.name)
        self.saturation = (config.instances() + 1) * parts.net.max_batch_size
        self.operating_point = config.instances() * parts.net.optimum_batch_size

    def report(self) -> Report:
        """Measures."""
        turns = []
        for number in range(self.options.rounds + 1):
            progress(f"{self.parts.ensemble.name}: round {number} of {self.options.rounds}")
            turns.append(self._turn(number))
        progress("")
        # The first one warmed everything up.
        return report(self.parts, self.candidate.name, turns[1:], available_cores())

    def _turn(self, number: int) -> Turn:
        seconds = self.options.seconds
        loads = {
            "full": (self.batched, self.saturation),
            "unbatched": (self.unbatched, self.saturation),
            "usual": (self.batched, self.operating_point),
        }
        done: dict[str, Load] = {}
        own = 0.0
        for name in rotated([*loads, "own"], number):
            if name == "own":
                own = self.in_process.throughput(seconds)
            else:
                server, concurrency = loads[name]
                done[name] = server.load(self.requests, concurrency, seconds)
        return Turn(**done, own=own)

    def _items(self) -> tuple[list[Tensors], list[Tensors]]:
        """Items as requests hold them, and as the net is given them."""
        ensemble, first = self.parts.ensemble, self.parts.ensemble.steps[0]
        inputs = ensemble.examples(fetch(pinned_assets(ensemble), print), POOL)
        count = len(next(iter(inputs.values())))
        rows = [{name: array[at : at + 1] for name, array in inputs.items()} for at in range(count)]
        names = [tensor.name for tensor in self.parts.net.inputs]
        rows, given = alike(rows, [self.batched.answers(first.model, row, names) for row in rows], self.parts.net)
        return rows[:ITEMS], given[:ITEMS]


def measure(name: str, options: argparse.Namespace) -> Report:
    """One system."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        return Benchmark(parts_of(name), options, Path(folder), stack).report()


def main() -> None:
    """Measures and prints."""
    options = parse()
    built = [name for name in SYSTEMS if versions.latest(options.repository / name) is not None]
    for name in [] if options.systems else sorted(set(SYSTEMS) - set(built)):
        print(f"{name} is left out: run `modelyard build {name} --targets all` first", file=sys.stderr)
    print(
        f"{machine()}, {options.rounds} rounds, interleaved",
        file=sys.stderr,
    )
    reports = []
    for name in options.systems or built:
        try:
            reports.append(measure(name, options))
        except (ServerError, BuildError) as error:
            sys.exit(f"error: {error}")
        if not options.json:
            print(show(reports[-1]), flush=True)
    if options.json:
        print(json.dumps([asdict(each) for each in reports], indent=2))
    sys.exit(any(each.missed for each in reports))


if __name__ == "__main__":
    main()
