"""Inputs as the command line says them: `image:FP32[3,224,224]`, `ids:INT64(0..30521)[length=1..512]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from modelyard_build.adoption.origin import Draw, Limit, Wish
from modelyard_build.adoption.ranges import BOUND
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import NUMPY_DTYPES, Arrays

SPELLING = "name:DTYPE[dims], such as image:FP32[3,224,224] or ids:INT64(0..30521)[length=1..512]"
_SPEC = re.compile(
    r"(?P<name>[A-Za-z_]\w*):(?P<dtype>[A-Z0-9]+)(?:\((?P<low>-?\d+)\.\.(?P<high>-?\d+)\))?\[(?P<dims>[^\]]*)\]"
)
_DIM = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:=(?P<min>\d+)\.\.(?P<max>\d+))?")
# What a dim that is only named starts with.
USUAL_SIZE = 16
# Whole numbers of which nothing is known: masks, flags, and indices into anything take these.
_SMALL = Draw(0, 2)


@dataclass(frozen=True)
class Spec:
    """One input.

    Attributes:
        name: of the parameter.
        dtype: Triton's datatype name.
        dims: without the batch; a dim that varies by its name.
        draw: which values it may take.
        limits: from what to what a dim may vary, by its name.
    """

    name: str
    dtype: str
    dims: tuple[int | str, ...]
    draw: Draw | None
    limits: dict[str, Limit]


def parse(text: str) -> Spec:
    """Reads one.

    Raises:
        AdoptionFailed: it is written otherwise.
    """
    match = _SPEC.fullmatch(text.replace(" ", ""))
    if match is None or match["dtype"] not in NUMPY_DTYPES or match["dtype"] == "BYTES":
        known = ", ".join(name for name in NUMPY_DTYPES if name != "BYTES")
        raise AdoptionFailed(f"--input {text!r}: expected is {SPELLING}. Dtypes are {known}.")
    dims: list[int | str] = []
    limits: dict[str, Limit] = {}
    for part in filter(None, match["dims"].split(",")):
        if part.isdigit() and int(part) > 0:
            dims.append(int(part))
            continue
        named = _DIM.fullmatch(part)
        if named is None or named["name"] == "batch":
            raise AdoptionFailed(
                f"--input {text!r}: {part!r} is no dim: expected is a number, a name, or a name=1..512. The batch is "
                "not among the dims."
            )
        dims.append(named["name"])
        if named["min"]:
            limits[named["name"]] = Limit(named["name"], int(named["min"]), int(named["max"]))
    draw = Draw(int(match["low"]), int(match["high"]) + 1) if match["low"] else None
    return Spec(match["name"], match["dtype"], tuple(dims), draw, limits)


def example_of(wish: Wish, items: int) -> Arrays:
    """Drawn inputs of the wished names, dtypes and dims.

    Args:
        wish: has `inputs`.
        items: how many.
    """
    generator = np.random.default_rng(0)
    found: Arrays = {}
    for name, (dtype, dims) in wish.inputs.items():
        shape = (items, *(_size(dim, wish) for dim in dims))
        draw = wish.draws.get(name, _SMALL)
        numpy_dtype = np.dtype(NUMPY_DTYPES[dtype])
        if numpy_dtype.kind == "f":
            found[name] = generator.normal(size=shape).astype(numpy_dtype)
        elif draw.ones:
            found[name] = np.ones(shape, numpy_dtype)
        else:
            found[name] = generator.integers(draw.low, draw.high, size=shape).astype(numpy_dtype)
    return found


def _size(dim: int | str, wish: Wish) -> int:
    if isinstance(dim, int):
        return dim
    limit = wish.limits.get(dim)
    return min(max(USUAL_SIZE, limit.min), limit.max) if limit else USUAL_SIZE


def limits_of(wish: Wish) -> dict[str, dict[int, Limit]]:
    """What is said of each dim, by input and by dimension."""
    return {name: {at: _limit(dim, wish) for at, dim in enumerate(dims, 1)} for name, (_, dims) in wish.inputs.items()}


def _limit(dim: int | str, wish: Wish) -> Limit:
    """A dim that is a number stays one."""
    if isinstance(dim, int):
        return Limit("", dim, dim)
    return wish.limits.get(dim, Limit(dim, 1, BOUND))
