"""Systems that answer with a stream: the time to the first response, the rate after it, and what serving costs.

    python benchmarks/streams.py image_generator
    python benchmarks/streams.py image_generator --clients 1 8 32 --responses 20

Each client sends one request at the same moment as the others, over gRPC, to the embedded Triton with the configs of
this kind of machine, and reads its stream to the end. Beside it the very artefact that the net is served as runs in
this process, as many instances as Triton has, in the batches in which the step calls it. Rounds are interleaved, each
beginning with another part; the first one warms up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from measure.repositories import linked
from measure.served import Tensors
from measure.streams import Play, Row, play, rounds, row, table
from measure.system import InProcess, served_candidate
from modelyard_build.assets import fetch
from modelyard_build.errors import BuildError
from modelyard_build.model import Model, PythonModel, composing
from modelyard_build.models import find
from modelyard_build.repository import layout
from modelyard_build.repository.hardware import hardware
from modelyard_build.sources import pinned_assets
from modelyard_client.errors import ClientError
from modelyard_server.backend_support.threads import available_cores
from modelyard_server.errors import ServerError
from modelyard_server.process import ServerOptions, TritonServer, free_ports

REPOSITORY = Path(__file__).parents[1] / "model_repository"
DEADLINE_S = 600.0


@dataclass(frozen=True)
class Streamed:
    """What a system is asked.

    Attributes:
        request: `request(number, responses)`: the inputs of one request for so many responses, each number another.
        items_per_call: the parameter that says how many items the step gives its net in one call.
    """

    request: Callable[[int, int], Tensors]
    items_per_call: str


def _seed(number: int, responses: int) -> Tensors:
    return {"seed": np.array([number], np.int64), "count": np.array([responses], np.int64)}


STREAMED = {"image_generator": Streamed(_seed, "images_per_call")}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=[*STREAMED])
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="how many at a time; default: 1 8")
    parser.add_argument("--responses", type=int, default=8, help="of each stream, at least 2")
    parser.add_argument("--rounds", type=int, default=4, help="at least 2")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run in process")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


def in_process(step: PythonModel, repository: Path) -> tuple[str, InProcess]:
    """What the step's net is served as, and that artefact in this process."""
    (net,) = [found for found in map(find, composing(step)) if isinstance(found, Model)]
    candidate = served_candidate(repository, net, hardware().name)
    size = int(step.parameters[STREAMED[step.name].items_per_call])
    examples = net.examples(fetch(pinned_assets(net), print), size, {})
    items = [{name: array[at : at + 1] for name, array in examples.items()} for at in range(size)]
    return candidate.name, InProcess(candidate, repository, replace(net, max_batch_size=size), items)


def measure(options: argparse.Namespace) -> tuple[str, Sequence[Row]]:
    """The candidate's name, and a row for each number of clients."""
    step = find(options.system)
    assert isinstance(step, PythonModel)  # those that are listed are
    numbers = itertools.count(1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        repository = linked(options.repository, [step.name, *composing(step)], Path(folder) / "repository")
        http_port, grpc_port, metrics_port = free_ports(3)
        own_configs = list(repository.glob(f"*/{layout.CONFIGS}/{hardware().name}.pbtxt"))
        settings = ServerOptions(
            repository, http_port, grpc_port, metrics_port, hardware().name if own_configs else None
        )
        server = stack.enter_context(TritonServer(settings))
        name, own = in_process(step, options.repository)

        def played(clients: int) -> Play:
            requests = [STREAMED[step.name].request(next(numbers), options.responses) for _ in range(clients)]
            return play(f"grpc://{server.grpc_url}", step.name, requests, DEADLINE_S)

        parts = [partial(played, clients) for clients in options.clients]
        plays, rates = rounds(parts, lambda: own.throughput(options.seconds), options.rounds)
    return name, [row(each, rates) for each in plays]


def main() -> None:
    """Measures and prints."""
    options = parse()
    print(
        f"{hardware().name}, {available_cores()} cores, load average {os.getloadavg()[0]:.1f}, "
        f"{options.rounds} rounds, interleaved, {options.responses} responses a stream",
        file=sys.stderr,
    )
    try:
        candidate, rows = measure(options)
    except (ServerError, BuildError, ClientError) as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps({"candidate": candidate, "rows": [asdict(each) for each in rows]}, indent=2))
    else:
        print(f"{options.system} ({candidate})\n{table(rows)}")


if __name__ == "__main__":
    main()
