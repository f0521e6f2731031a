"""How many real items a search for a precision can afford: what it runs on them, it runs dozens of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from modelyard_build.model import Arrays
from modelyard_build.targets.target import Source
from modelyard_build.verify import run_module

# Of one run over all items, in floating-point operations: some 20 s on two cores.
BUDGET = 2.5e12
# The fewest items of each size that say anything about ranges.
LEAST = 16


def items_of_each(source: Source, sizes: Sequence[Mapping[str, int]], most: int) -> int:
    """The items of each size that fit the budget; the same on every machine.

    Args:
        source: the model.
        sizes: the sizes of the dynamic axes that are to be run.
        most: more are never needed.

    Returns:
        From `LEAST` to `most`. `most` for an ONNX file, of which PyTorch can count nothing.
    """
    operations = 0 if source.model.graph else sum(_operations(source, size) for size in sizes)
    affordable = int(BUDGET // operations) if operations else most
    return int(np.clip(affordable, min(LEAST, most), most))


def _operations(source: Source, sizes: Mapping[str, int]) -> int:
    """Of one item in PyTorch: matrix products, convolutions and attention."""
    item: Arrays = source.model.examples(source.files, 1, sizes)
    with FlopCounterMode(display=False) as counter:
        run_module(source.model, source.module(), item)
    found: int = counter.get_total_flops()
    return found
