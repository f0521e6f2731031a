"""Every target that `modelyard build` knows. A new one is a file here and a line in the list."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace

from modelyard_build.errors import UnknownTarget
from modelyard_build.targets import onnxruntime, openvino, pytorch, tensorrt, tensorrt_rtx
from modelyard_build.targets.target import Candidate, Target

TARGETS: tuple[Target, ...] = (
    onnxruntime.TARGET,
    openvino.TARGET,
    pytorch.TARGET,
    tensorrt.TARGET,
    tensorrt_rtx.TARGET,
)
CANDIDATES: tuple[Candidate, ...] = tuple(candidate for target in TARGETS for candidate in target.candidates)
# The portable one: every version has it, and config.pbtxt names it.
BASE = onnxruntime.TARGET.candidates[0]
ALL = "all"
# What needs a GPU, and what does not.
CPU, GPU = "cpu", "gpu"
# What sets the plans for several kinds of GPU apart, in a candidate's name and in its file's.
PLAN_SUFFIX = re.compile(r"[-.]sm\d+")


def target_of(candidate: Candidate) -> Target:
    """The target that makes a candidate."""
    return next(target for target in TARGETS if target.name == candidate.target)


def here() -> list[Candidate]:
    """Every candidate as it is made on this machine."""
    return [target_of(candidate).here(candidate) for candidate in CANDIDATES]


def published_as(name: str, filename: str) -> Candidate | None:
    """The candidate of a manifest's name, also where it was made for another kind of GPU; None where there is none."""
    generic = PLAN_SUFFIX.sub("", name)
    found = next((candidate for candidate in CANDIDATES if candidate.name == generic), None)
    return found and replace(found, name=name, filename=filename)


def select(names: Sequence[str]) -> list[Candidate]:
    """The candidates that are named, by their own name or by their target's.

    `all` is every one, `cpu` each that runs without a GPU, `gpu` each that needs one.

    Returns:
        Each once, in the order of the list, the portable one always among them.

    Raises:
        UnknownTarget: a name is neither.
    """
    known = {ALL, CPU, GPU, *(target.name for target in TARGETS), *(candidate.name for candidate in CANDIDATES)}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(sorted(known))}."
            raise UnknownTarget(f"no target is called {name!r}. {hint}")
    wanted = {BASE.name, *names}
    chosen = [item for item in CANDIDATES if wanted & {ALL, GPU if item.needs_gpu else CPU, item.target, item.name}]
    return [target_of(item).here(item) for item in chosen]
