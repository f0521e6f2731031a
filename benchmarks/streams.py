"""Systems that answer with a stream: the time to the first response, the rate after it, and what serving costs.

    python benchmarks/streams.py image_generator
    python benchmarks/streams.py chat --clients 1 8 16 --size 128
    python benchmarks/streams.py speech --rounds 3

Each client sends one request at the same moment as the others, over gRPC, to the embedded Triton with the configs of
this kind of machine, and reads its stream to the end. Before or after it, in turns, what does the step's work is given
the same requests in this process (see `measure/streaming_systems/`). Rounds are interleaved, each beginning with
another number of clients; the first one warms up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from measure.progress import machine
from measure.repositories import linked
from measure.served import Tensors
from measure.streaming_systems import SYSTEMS
from measure.streams import Play, Row, play, row, table, turns
from modelyard_build.errors import BuildError
from modelyard_build.model import composing
from modelyard_build.models import find
from modelyard_build.repository import layout
from modelyard_build.repository.hardware import hardware
from modelyard_client.errors import ClientError
from modelyard_server.errors import ServerError
from modelyard_server.process import ServerOptions, TritonServer, free_ports

REPOSITORY = Path(__file__).parents[1] / "model_repository"
DEADLINE_S = 600.0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=[*SYSTEMS])
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="how many at a time; default: 1 8")
    sizes = ", ".join(f"{each.size} for {name}" for name, each in SYSTEMS.items())
    parser.add_argument("--size", type=int, help=f"what a request asks for: images, tokens, spoken clips; {sizes}")
    parser.add_argument("--rounds", type=int, default=4, help="at least 2")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> tuple[str, Sequence[Row]]:
    """What was run in process, and a row for each number of clients."""
    system, numbers = SYSTEMS[options.system], itertools.count(1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        models = [options.system, *composing(find(options.system))]
        repository = linked(options.repository, models, Path(folder) / "repository")
        http_port, grpc_port, metrics_port = free_ports(3)
        own_configs = list(repository.glob(f"*/{layout.CONFIGS}/{hardware().name}.pbtxt"))
        settings = ServerOptions(
            repository, http_port, grpc_port, metrics_port, hardware().name if own_configs else None
        )
        server = stack.enter_context(TritonServer(settings))
        own = system.own(options.repository, hardware().name)

        def asked(clients: int) -> list[Tensors]:
            return [system.request(next(numbers), options.size or system.size) for _ in range(clients)]

        def served(requests: Sequence[Tensors]) -> Play:
            return play(f"grpc://{server.grpc_url}", options.system, requests, system.count, DEADLINE_S)

        found = turns(options.clients, asked, served, own.rate, options.rounds)
    return own.name, [row(each) for each in found]


def main() -> None:
    """Measures and prints."""
    options = parse()
    system = SYSTEMS[options.system]
    print(
        f"{machine()}, {options.rounds} rounds "
        f"of each number of clients, interleaved, size {options.size or system.size}",
        file=sys.stderr,
    )
    try:
        name, rows = measure(options)
    except (ServerError, BuildError, ClientError) as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps({"in process": name, "rows": [asdict(each) for each in rows]}, indent=2))
    else:
        print(f"{options.system} (in process: {name})\n{table(rows, system.items)}")


if __name__ == "__main__":
    main()
