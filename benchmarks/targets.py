"""Every published candidate of a model beside eager PyTorch: throughput, latency, and the worst cosine on real inputs.

    modelyard build text_embedder --targets all
    python benchmarks/targets.py text_embedder_encoder --rounds 30

The ratios are of one run, interleaved, with the 95 % interval of their mean. Cosines are of real inputs at several
widths, none of which calibration or the search for sensitive nodes has seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measure.cosines import worst_cosines
from modelyard_build import artefacts, measuring
from modelyard_build.artefacts import Made
from modelyard_build.assets import fetch
from modelyard_build.model import Model
from modelyard_build.models import find
from modelyard_build.repository import versions
from modelyard_build.repository.device import use
from modelyard_build.repository.hardware import hardware
from modelyard_build.sources import pinned_assets
from modelyard_build.targets import target_of
from modelyard_ops.building import ConsoleProgress


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="text_embedder_encoder")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    use()
    model = find(arguments.model)
    latest = versions.latest(arguments.repository / arguments.model)
    if not isinstance(model, Model) or latest is None:
        parser.error(f"{arguments.model} is no built PyTorch model: modelyard build {arguments.model} --targets all")
    found = [one for one in artefacts.published(latest) if one.runs_here]
    _show(model, found, arguments.rounds)


def _show(model: Model, found: list[Made], rounds: int) -> None:
    files = fetch(pinned_assets(model), print)
    module = model.load(files)
    runners = {
        one.name: target_of(one.wanted.candidate).runner(one.wanted.candidate, one.folder, model) for one in found
    }
    cosines = worst_cosines(model, runners)
    measured = measuring.measure(model, module, found, files, ConsoleProgress(), rounds)
    machine = measuring.describe(hardware())
    print(f"{model.name}: {machine}, batch {measured['batch']}, {measured['sizes']}, {rounds} rounds, interleaved")
    print(f"{'candidate':24}{'items/s':>9}{'ms, 1 item':>12}{'x eager':>9}{'95 % interval':>18}{'worst cosine':>14}")
    for name, row in measured["candidates"].items():
        _row(name, row, cosines.get(name))


def _row(name: str, row: dict[str, Any], cosine: float | None) -> None:
    mean, low, high = row["ratio"]
    interval = f"[{low:.3f}, {high:.3f}]"
    shown = "" if cosine is None else f"{cosine:.6f}"
    print(f"{name:24}{row['throughput']:9.1f}{row['latency_ms']:12.2f}{mean:9.3f}{interval:>18}{shown:>14}")


if __name__ == "__main__":
    main()
