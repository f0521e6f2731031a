"""Trains the demand forecaster on M5 and says how it does on days that it never saw, beside plain forecasts.

    python -m modelyard_build.recipes.demand_forecaster

About five minutes on one core. Writes nets/demand_forecaster.safetensors, with the recipe's settings, the hashes of the
data and the figures in its metadata. The last 84 days are three test windows, looked at once, after training; the 56
days before them are the validation windows that the settings were chosen by; training ends before both.
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor

from modelyard_build.assets import fetch
from modelyard_build.datasets import m5
from modelyard_build.datasets.m5 import Demand
from modelyard_build.datasets.m5_windows import LEVELS, TEST_ORIGINS, figures, held_out, plain_forecasts, truth_of
from modelyard_build.model import Array, Arrays
from modelyard_build.nets import demand_inputs
from modelyard_build.nets.demand_forecaster import WEIGHTS_FILE, DemandForecaster
from modelyard_build.nets.demand_inputs import CONTEXT, HORIZON

SEED = 20261121
STEPS = 5000
BATCH_SIZE = 256
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
VALIDATION_ORIGINS = (1773, 1801)
# A window's days to come end where the validation begins.
LAST_ORIGIN = VALIDATION_ORIGINS[0] - HORIZON
# Newer windows are drawn more often: the share of the way back is a number from 0 to 1 to this power.
RECENCY = 1.5
# The share of windows that are cut to a short history, as a new product has.
CUT_SHARE = 0.25
# Of the Tweedie deviance of the mean: between Poisson's 1 and gamma's 2, for counts with many zeros.
TWEEDIE_POWER = 1.5
MEAN_WEIGHT = 0.5


def net_inputs(
    demand: Demand, series: npt.NDArray[np.int64], origins: npt.NDArray[np.int64], longest: npt.NDArray[np.int64]
) -> dict[str, Tensor]:
    """Windows as the net reads them.

    Args:
        demand: the series.
        series: the index of each window's, [windows].
        origins: the number of days before its first day to come, [windows].
        longest: the days that are known of it at most, [windows].
    """
    days = origins[:, None] + np.arange(-CONTEXT, HORIZON)
    first = np.maximum(demand.starts[series], origins - longest)
    known = days[:, :CONTEXT] >= first[:, None]
    days = np.maximum(days, 0)
    row, before, after = series[:, None], days[:, :CONTEXT], days[:, CONTEXT:]
    past = demand_inputs.past(
        np.where(known, demand.units[row, before], 0),
        known,
        np.where(known, demand.prices[row, before], 1),
        demand.events[before] * known[..., None],
        demand.snap[row, before] * known,
    )
    calendar = demand_inputs.calendar_columns(demand.dates)
    future = demand_inputs.future(
        demand.prices[row, after], demand.events[after], demand.snap[row, after], calendar[after]
    )
    return {"past": torch.from_numpy(past), "future": torch.from_numpy(future)}


def draw(demand: Demand, generator: np.random.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """A batch of training windows and the units of the days that followed, float32 [batch, 28]."""
    trainable = np.flatnonzero(demand.starts + HORIZON <= LAST_ORIGIN)
    series = generator.choice(trainable, BATCH_SIZE)
    back = generator.random(BATCH_SIZE) ** RECENCY
    origins = LAST_ORIGIN - np.floor((LAST_ORIGIN - demand.starts[series] - HORIZON + 1) * back).astype(np.int64)
    cut = HORIZON + np.floor((CONTEXT - HORIZON) * generator.random(BATCH_SIZE) ** 2).astype(np.int64)
    longest = np.where(generator.random(BATCH_SIZE) < CUT_SHARE, cut, CONTEXT)
    truth = demand.units[series[:, None], origins[:, None] + np.arange(HORIZON)]
    return net_inputs(demand, series, origins, longest), torch.from_numpy(truth)


def loss(model: DemandForecaster, inputs: dict[str, Tensor], truth: Tensor) -> Tensor:
    """Pinball loss of the quantiles and Tweedie deviance of the mean, in shares of each series' level."""
    quantiles, mean, scale = model.scaled(**inputs)
    share = truth / scale
    error = share[..., None] - quantiles
    levels = torch.tensor(LEVELS)
    pinball = torch.maximum(levels * error, (levels - 1) * error).mean((1, 2))
    power = TWEEDIE_POWER
    # The deviance without what does not depend on the mean.
    tweedie = (-share * mean ** (1 - power) / (1 - power) + mean ** (2 - power) / (2 - power)).mean(1)
    # Series of all sizes count, large ones somewhat more.
    weight = scale[:, 0].sqrt()
    return ((pinball + MEAN_WEIGHT * tweedie) * weight).sum() / weight.sum()


def train(demand: Demand, steps: int = STEPS) -> DemandForecaster:
    """Trains on windows that end before the validation."""
    torch.manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    model = DemandForecaster().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        found = loss(model, *draw(demand, generator))
        optimizer.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 200 == 0:
            print(f"step {step}/{steps}: loss {found.item():.4f}", flush=True)
    return model.eval()


def forecast(model: DemandForecaster, demand: Demand, origins: tuple[int, ...]) -> tuple[Arrays, Array]:
    """The net's forecasts of every series that was there at the origins; and what is known of each window."""
    series, starts = held_out(demand, origins)
    outputs = []
    for part in np.array_split(np.arange(len(series)), len(series) // 512):
        with torch.inference_mode():
            inputs = net_inputs(demand, series[part], starts[part], np.full(len(part), CONTEXT))
            outputs.append([output.numpy() for output in model(**inputs)])
    quantiles, mean = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    return {"quantiles": quantiles, "mean": mean}, truth_of(demand, series, starts)


def report(model: DemandForecaster, demand: Demand, origins: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """The figures of the net and of plain forecasts on the windows at the origins."""
    outputs, truth = forecast(model, demand, origins)
    named = {"demand_forecaster": outputs, **plain_forecasts(truth)}
    return {
        name: {figure: round(value, 4) for figure, value in figures(answers, truth).items()}
        for name, answers in named.items()
    }


def main() -> None:
    """Trains, validates, tests, writes."""
    # Sums in one order, so that the same weights come out; and for matrices of this size two threads gain little.
    torch.set_num_threads(1)
    demand = m5.load(fetch(m5.ASSETS, print))
    model = train(demand)
    validation = report(model, demand, VALIDATION_ORIGINS)
    print(f"validation: {json.dumps(validation, indent=1)}")
    test = report(model, demand, TEST_ORIGINS)
    print(f"test: {json.dumps(test, indent=1)}")
    record = {
        "recipe": "modelyard_build.recipes.demand_forecaster",
        "settings": {"seed": SEED, "steps": STEPS, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE},
        "sha256": {name: asset.sha256 for name, asset in m5.ASSETS.items()},
        "validation": validation,
        "test": test,
        "torch": torch.__version__,
    }
    save_file(dict(model.state_dict()), WEIGHTS_FILE, metadata={"modelyard": json.dumps(record, sort_keys=True)})
    print(f"wrote {WEIGHTS_FILE}")


if __name__ == "__main__":
    main()
