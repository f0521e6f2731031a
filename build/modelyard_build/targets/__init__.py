"""Every target that `modelyard build` knows. A new one is a file here and a line in the list."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from modelyard_build.errors import UnknownTarget
from modelyard_build.targets import onnxruntime, openvino, pytorch
from modelyard_build.targets.target import Candidate, Target

TARGETS: tuple[Target, ...] = (onnxruntime.TARGET, openvino.TARGET, pytorch.TARGET)
CANDIDATES: tuple[Candidate, ...] = tuple(candidate for target in TARGETS for candidate in target.candidates)
# The portable one: every version has it, and config.pbtxt names it.
BASE = onnxruntime.TARGET.candidates[0]
ALL = "all"


def target_of(candidate: Candidate) -> Target:
    """The target that makes a candidate."""
    return next(target for target in TARGETS if target.name == candidate.target)


def select(names: Sequence[str]) -> list[Candidate]:
    """The candidates that are named, by their own name or by their target's; `all` is every one.

    Returns:
        Each once, in the order of the list, the portable one always among them.

    Raises:
        UnknownTarget: a name is neither.
    """
    known = {ALL, *(target.name for target in TARGETS), *(candidate.name for candidate in CANDIDATES)}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(sorted(known))}."
            raise UnknownTarget(f"no target is called {name!r}. {hint}")
    wanted = {BASE.name, *names}
    return [item for item in CANDIDATES if ALL in wanted or {item.name, item.target} & wanted]
