"""Machines by name, for `--hardware`: a table in data, not code."""

from __future__ import annotations

import json
from pathlib import Path

from modelyard_build.errors import BuildError
from modelyard_build.repository.lint.settings import Machine

TABLE = Path(__file__).with_name("machines.json")


def machine(text: str) -> Machine:
    """A machine out of `NAME`, or `NAME:key=value,…` with `cores` and `gpus`, such as "cpu:cores=16" or "h200:gpus=4".

    Raises:
        BuildError: no machine is called so, or a value is none.
    """
    name, _, more = text.strip().partition(":")
    known = json.loads(TABLE.read_text())["machines"]
    if name not in known:
        raise BuildError(f"hardware {name!r} is not in the table; it knows {', '.join(known)}.")
    given = dict(part.partition("=")[::2] for part in filter(None, more.split(",")))
    wrong = {key for key, value in given.items() if key not in ("cores", "gpus") or not value.isdecimal()}
    if wrong:
        raise BuildError(
            f"hardware {text!r}: {', '.join(sorted(wrong))} is not understood; write {name}:cores=16,gpus=2, or less."
        )
    capability = known[name]["compute_capability"]
    cores = int(given["cores"]) if "cores" in given else None
    return Machine(name, cores, capability, int(given.get("gpus", "1" if capability else "0")))
