"""Fits the temperature of the triage's probabilities on the sixteen X-rays and says what it brings.

    python -m modelyard_build.recipes.imaging_triage

Half a minute on two cores. Prints what `models/imaging_triage.TEMPERATURE` is to be, and what is measured with it.
Sixteen X-rays are all that there is with a finding beside it and that the net was not trained with, so each is seen in
several views. With the temperature that all of them give the figures are in-sample; leave-one-out, each X-ray is judged
with the temperature that the others give.
"""

from __future__ import annotations

import os

import torch

from modelyard_build import temperature
from modelyard_build.assets import fetch
from modelyard_build.datasets import chest_xrays
from modelyard_build.models.imaging_triage import ENSEMBLE, evaluation_data, scored, ways_to_scale


def fitted() -> tuple[float, dict[str, dict[str, float]]]:
    """The temperature, and the figures (better when lower) before it, after it in-sample, and leave-one-out."""
    files = fetch(ENSEMBLE.assets, print)
    inputs, truth = evaluation_data(files)
    logits = scored(files, inputs["image"])
    found = temperature.fit(logits, truth)
    ways = ways_to_scale(logits, truth, found)
    figures = {
        "calibration error": temperature.expected_calibration_error,
        "Brier score": temperature.brier_score,
        "negative log likelihood": temperature.negative_log_likelihood,
    }
    return found, {
        way: {name: round(figure(shares, truth), 4) for name, figure in figures.items()} for way, shares in ways.items()
    }


def main() -> None:
    """Fits and prints."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    found, measured = fitted()
    print(f"TEMPERATURE = {found:.2f}, of {len(chest_xrays.XRAYS)} X-rays in {chest_xrays.VIEWS} views")
    for way, figures in measured.items():
        print(f"{way}: {figures}")


if __name__ == "__main__":
    main()
