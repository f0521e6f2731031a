"""Batches of 32 through every artefact of a model: in process, served through Triton, and beside PyTorch.

    python benchmarks/cards.py resnet50_b32
    python benchmarks/cards.py bert_base_128_b32

resnet50_b32         images, uint8 [32, 224, 224, 3], through ResNet-50 with ImageNet's weights
bert_base_128_b32    texts, int64 [32, 128], through BERT-base (110 M parameters) of random weights

Every artefact that can be built and run here is made and proven first, as `modelyard build` does it; that takes
minutes, and stays in the cache. Then all are measured in one run, interleaved: eager PyTorch, torch.compile, each
artefact in this process, and each behind the embedded Triton over gRPC; with as many callers as instances.
`MODELYARD_DEVICE` says whether a GPU is used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure.card_models import CARDS
from measure.cards import SERVED, TORCH_COMPILE, Built, built, compiled, served
from measure.cosines import worst_cosines
from modelyard_build import measuring
from modelyard_build.errors import BuildError
from modelyard_build.repository.hardware import hardware
from modelyard_build.targets import ALL
from modelyard_build.targets.target import Run
from modelyard_ops.building import ConsoleProgress
from modelyard_server.errors import ServerError


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", choices=CARDS)
    parser.add_argument(
        "--targets", default=ALL, help="what is measured, separated by commas, as for `modelyard build`"
    )
    parser.add_argument("--rounds", type=int, default=5, help="at least 2")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


def measure(found: Built, rounds: int, folder: Path) -> dict[str, Any]:
    """Everything in one run; see `measuring.measure`."""
    workshop, model = found.workshop, found.workshop.model
    with served(found, folder) as behind:
        beside: dict[str, list[Run]] = {TORCH_COMPILE: [compiled(model, workshop.module)] * model.instance_count}
        beside |= behind
        with workshop.progress.step(model.name, "run PyTorch in float64, and everything beside it"):
            cosines = worst_cosines(model, {name: runs[0] for name, runs in beside.items()})
        measured = measuring.measure(
            model, workshop.module, found.made, workshop.files, workshop.progress, rounds, beside
        )
    for name, row in measured["candidates"].items():
        row["cosine"] = cosines.get(name, cosines.get(f"{name}{SERVED}"))
    return {**measuring.describe(hardware()), **measured, "missing": found.missing}


def table(name: str, measured: dict[str, Any]) -> str:
    """As people read it."""
    machine = f"{measured['hardware']} {measured['gpu']}".strip()
    head = (
        f"{name}: {machine}, {measured['cores']} cores, load average {os.getloadavg()[0]:.1f}, batch "
        f"{measured['batch']}, {measured['instances']} callers, {measured['rounds']} rounds, interleaved"
    )
    titles = f"{'':28}{'items/s':>9}{'p50 ms':>10}{'p99 ms':>10}{'1 item ms':>11}  {'x eager':22}{'worst cosine':>12}"
    missing = [f"{each}: {why}" for each, why in measured["missing"].items()]
    return "\n".join([head, titles, *(_line(*row) for row in measured["candidates"].items()), *missing])


def _line(name: str, row: dict[str, Any]) -> str:
    p50, p99 = row["batch_ms"]
    mean, low, high = row["ratio"]
    ratio = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    cosine = "" if row["cosine"] is None else f"{row['cosine']:.6f}"
    return f"{name:28}{row['throughput']:9.1f}{p50:10.1f}{p99:10.1f}{row['latency_ms']:11.2f}  {ratio:22}{cosine:>12}"


def main() -> None:
    """Builds, measures and prints."""
    options = parse()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = built(CARDS[options.card], options.targets.split(","), ConsoleProgress())
            measured = measure(found, options.rounds, Path(folder))
    except (BuildError, ServerError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(measured, indent=2) if options.json else table(options.card, measured))


if __name__ == "__main__":
    main()
