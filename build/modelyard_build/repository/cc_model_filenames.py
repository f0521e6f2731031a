"""One model on several kinds of GPU: a plan for each compute capability, side by side in a version."""

from __future__ import annotations

import re
from collections.abc import Mapping

from modelyard_build.errors import ConfigContradiction

# Triton takes `default_model_filename` for a GPU that the map does not name, and nothing tells that it did. A name
# that no file has makes the load fail instead: "unable to find '…/1/no_plan_for_this_compute_capability'".
NO_PLAN = "no_plan_for_this_compute_capability"
_COMPUTE_CAPABILITY = re.compile(r"\d+\.\d")


def plan_filename(filename: str, compute_capability: str) -> str:
    """The file of one compute capability: "model.fp16.sm90.plan" for "model.fp16.plan" and "9.0"."""
    stem, _, suffix = filename.rpartition(".")
    return f"{stem}.sm{compute_capability.replace('.', '')}.{suffix}"


def render(plans: Mapping[str, str]) -> str:
    """config.pbtxt's choice of a plan by compute capability.

    Args:
        plans: the file in the version folder for each compute capability, such as {"9.0": "model.fp16.sm90.plan"}.

    Raises:
        ConfigContradiction: there is no plan, or a key is not a compute capability.
    """
    wrong = [key for key in plans if not _COMPUTE_CAPABILITY.fullmatch(key)]
    if wrong or not plans:
        raise ConfigContradiction(
            "cc_model_filenames needs a plan for each compute capability, such as 9.0; got "
            f"{', '.join(wrong) or 'none'}."
        )
    rows = [f'cc_model_filenames {{ key: "{key}", value: "{plans[key]}" }}' for key in sorted(plans, key=_order)]
    return "\n".join(
        [
            "# The plan of each compute capability: Triton looks a GPU's up here.",
            *rows,
            "# For a GPU that is not listed Triton takes this file without a word; left out, it means model.plan. No",
            "# file may have this name: then the model does not load on that GPU, and the server's log names it.",
            f'default_model_filename: "{NO_PLAN}"',
        ]
    )


def _order(compute_capability: str) -> tuple[int, ...]:
    return tuple(map(int, compute_capability.split(".")))
