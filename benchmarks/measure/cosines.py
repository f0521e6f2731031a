"""How far candidates are from PyTorch on real inputs."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard_build import verify
from modelyard_build.assets import fetch
from modelyard_build.export import axes_of
from modelyard_build.model import Model
from modelyard_build.similarity import min_cosine
from modelyard_build.sources import pinned_assets
from modelyard_build.targets.target import Run

# Shares of the axes' range at which the cosines are taken.
WIDTHS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
ITEMS = 32


def worst_cosines(model: Model, runs: Mapping[str, Run]) -> dict[str, float]:
    """Of each run's rows against PyTorch in float64, over every width of inputs."""
    files = fetch(pinned_assets(model), print)
    exact = model.load(files).double()
    worst = dict.fromkeys(runs, 1.0)
    for share in WIDTHS if axes_of(model) else WIDTHS[-1:]:
        sizes = {axis.name: max(axis.min, round(share * axis.max)) for axis in axes_of(model)}
        inputs = model.examples(files, ITEMS - 1, sizes)
        expected = verify.run_module(model, exact, inputs)
        for name, run in runs.items():
            answers = run(inputs)
            cosines = [min_cosine(expected[tensor.name], answers[tensor.name]) for tensor in model.outputs]
            worst[name] = min(worst[name], *cosines)
    return worst
