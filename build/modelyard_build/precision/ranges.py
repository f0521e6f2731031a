"""What the values at a site look like on real inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from modelyard_build.model import Arrays
from modelyard_build.precision.errors import CalibrationRefused
from modelyard_build.precision.sessions import Session
from modelyard_build.precision.sites import Floats, Site

# Of each batch, rows that are kept to try quantisation on: as many of the largest values as by chance.
_ROWS = 16
# Of images, whole items are kept, up to so many numbers a site.
_ELEMENTS = 1 << 21


@dataclass
class Observed:
    """The values that a site reads, over all calibration batches.

    Attributes:
        largest: the largest magnitude in each channel.
        smallest: the smallest value of all.
        total: the sum of each channel.
        elements: how many numbers there were.
        kept: some of the values: rows [n, channels], for Conv whole items [n, channels, ...].
    """

    largest: Floats
    smallest: float
    total: Floats
    elements: int
    kept: list[Floats]

    @property
    def mean(self) -> Floats:
        """The mean of each channel."""
        return self.total * np.float32(len(self.total) / self.elements)

    @property
    def sample(self) -> Floats:
        """What was kept, as one array."""
        return np.concatenate(self.kept)


def observe(proto: onnx.ModelProto, sites: Sequence[Site], batches: Sequence[Arrays]) -> dict[str, Observed]:
    """Runs the float32 graph and looks at what each site reads.

    Returns:
        What was seen, by the name of the activation.

    Raises:
        CalibrationRefused: real inputs make a value NaN or infinite.
    """
    convolved = {site.activation: site.op_type == "Conv" for site in sites}
    names = list(convolved)
    session = Session(proto, names)
    found: dict[str, Observed] = {}
    generator = np.random.default_rng(0)
    for batch in batches:
        values = session(batch)
        for name in names:
            _check_finite(name, values[name])
            _add(found, name, values[name], convolved[name], generator)
    return found


def _check_finite(name: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        raise CalibrationRefused(
            f"inner value {name!r} of the float32 graph is {values[~np.isfinite(values)][0]} on calibration data; no "
            "range can be taken. Look at the items that the model's `calibration` gives."
        )


def _add(
    found: dict[str, Observed], name: str, values: Floats, convolved: bool, generator: np.random.Generator
) -> None:
    rows = np.moveaxis(values, 1, -1) if convolved else values
    rows = rows.reshape(-1, rows.shape[-1])
    largest, total = np.abs(rows).max(0), rows.sum(0, dtype=np.float64).astype(np.float32)
    smallest = float(rows.min(initial=0.0))
    if name not in found:
        found[name] = Observed(largest, smallest, total, rows.size, [])
    else:
        seen = found[name]
        seen.smallest = min(seen.smallest, smallest)
        seen.largest, seen.total = np.maximum(seen.largest, largest), seen.total + total
        seen.elements += rows.size
    kept = found[name].kept
    if convolved:
        _keep_item(kept, values[:1])
    else:
        kept.append(_some(rows, generator))


def _keep_item(kept: list[Floats], item: Floats) -> None:
    """Items of one size are tried together: where sizes vary, those of the largest that is not too large."""
    if kept and item.shape != kept[0].shape:
        if not kept[0].size < item.size <= _ELEMENTS:
            return
        kept.clear()
    if not kept or sum(part.size for part in kept) + item.size <= _ELEMENTS:
        kept.append(item.copy())


def _some(rows: Floats, generator: np.random.Generator) -> Floats:
    """Rows by chance, and those with the largest values: the tokens that stand out decide a range."""
    outstanding = np.argsort(-np.abs(rows).max(1), kind="stable")[:_ROWS]
    chance = generator.permutation(len(rows))[:_ROWS]
    return rows[np.union1d(outstanding, chance)]
