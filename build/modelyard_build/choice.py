"""Which candidate serves best on this machine, out of what was proven and measured; and the config that says so."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard_build.model import Model
from modelyard_build.repository import config, layout, versions
from modelyard_build.repository.hardware import Hardware
from modelyard_build.stage import warmup_tensors
from modelyard_build.targets import BASE, here, target_of
from modelyard_build.targets.target import Candidate
from modelyard_build.wanted import serves

# From the strictest to the loosest.
CLASSES = ("exact", "near", "quantised")


@dataclass(frozen=True)
class Choice:
    """The candidate for a kind of machine.

    Attributes:
        name: the candidate.
        reason: why it is this one, in a line.
        path: the config for this kind of machine; None where there is none and config.pbtxt serves it.
        conflict: where that config stands and says otherwise, the difference; it is left as it is.
    """

    name: str
    reason: str
    path: Path | None
    conflict: str


def choose(measurement: Mapping[str, Any], records: Mapping[str, Any], hardware: Hardware, bound: str) -> Candidate:
    """The candidate of the highest throughput that keeps the quality bound.

    The portable one stays where no other is faster beyond doubt: the whole interval of the ratio counts. A candidate
    that would be served in another precision than it was measured in is none.

    Args:
        measurement: of every candidate that ran, see `measuring.measure`.
        records: the manifest's candidates.
        hardware: this machine.
        bound: the loosest class that may be served, one of `CLASSES`.
    """
    measured = measurement["candidates"]
    best, least = BASE, measured[BASE.name]["ratio"][2]
    for candidate in here():
        found = measured.get(candidate.name)
        if found is None or candidate is BASE or records[candidate.name]["refused"]:
            continue
        as_measured = target_of(candidate).served_quality(candidate, hardware) is candidate.quality
        kept = CLASSES.index(candidate.quality.name) <= CLASSES.index(bound)
        if as_measured and kept and not candidate.by_hand and found["ratio"][1] > least:
            best, least = candidate, found["ratio"][1]
    return best


def write_config(
    model: Model, folder: Path, measurement: Mapping[str, Any], best: Candidate, hardware: Hardware
) -> Choice:
    """Writes `configs/<hardware>.pbtxt` for the best candidate, where none stands.

    Raises:
        PublishFailed: the file cannot be written.
        ConfigContradiction: the file that stands cannot be read.
    """
    reason = _reason(measurement, best)
    path = folder / layout.CONFIGS / f"{hardware.name}.pbtxt"
    if best is BASE:
        stands = path.exists() and not serves(config.read(path), BASE)
        conflict = f"while it stands, config.pbtxt, which serves {BASE.name}, is not read on {hardware.name}"
        return Choice(best.name, reason, path, conflict) if stands else Choice(best.name, reason, None, "")
    notes = (f"For {hardware.name}: {best.name}, {reason}.",)
    text = config.render(model, warmup_tensors(model, folder), target_of(best).serving(best, model), notes)
    conflict = "" if versions.write_missing(path, text.encode()) else _difference(path, text)
    return Choice(best.name, reason, path, conflict)


def _reason(measurement: Mapping[str, Any], best: Candidate) -> str:
    measured = measurement["candidates"]
    own, base = measured[best.name]["throughput"], measured[BASE.name]["throughput"]
    sizes = ", ".join(f"{name} {size}" for name, size in measurement["sizes"].items())
    where = f"batch {measurement['batch']}" + (f", {sizes}" if sizes else "")
    if best is BASE:
        return f"{own:.0f} items/s at {where}; no other that keeps the bound is faster beyond doubt"
    return f"{own:.0f} items/s at {where} against the portable {base:.0f}"


def _difference(path: Path, text: str) -> str:
    """What the build would write in place of what stands, where their settings differ; comments are nobody's matter."""
    if config.says(path, text):
        return ""
    lines = difflib.unified_diff(
        config.text_of(path).splitlines(), text.splitlines(), str(path), "what the build would write", lineterm=""
    )
    return "\n".join(lines)
