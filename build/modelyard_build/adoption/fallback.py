"""The file that declares a module which cannot be exported: served as it is, through Triton's Python backend."""

from __future__ import annotations

import json

from modelyard_build.adoption import declaration
from modelyard_build.adoption.inspection import Inspected
from modelyard_build.adoption.origin import AsItIs, Opened, Wish

_EXPORTED = "\nMODELS = (MODEL,)\n"
_OWN = "from modelyard_build"


def render(wish: Wish, opened: Opened, as_it_is: AsItIs, inspected: Inspected) -> str:
    """The text of `models/NAME.py`: what an export would take, and in its last lines that there is none.

    Args:
        wish: what the user said.
        opened: what it was opened as.
        as_it_is: how it is served.
        inspected: what was found out of it.
    """
    exported = declaration.render(wish, opened, inspected).removesuffix(_EXPORTED)
    return _importing(as_it_is.imported, exported) + _ending(as_it_is, inspected)


def _importing(imported: str, text: str) -> str:
    """The text with one more import among our own, in order."""
    own = [line for line in text.splitlines() if line.startswith(_OWN)]
    block = "\n".join(sorted([imported, *own], key=lambda line: line.split()[1]))
    return text.replace("\n".join(own), block, 1)


def _ending(as_it_is: AsItIs, inspected: Inspected) -> str:
    lines = [
        "MODEL,",
        *as_it_is.arguments,
        "original=original,",
        "places=PLACES,",
        *([f"batch={json.dumps(inspected.batch_at)},"] if inspected.batch_at else []),
        *([f"numbers={json.dumps(list(inspected.numbers))},"] if inspected.numbers else []),
    ]
    return "\n".join(
        [
            "",
            "# No graph holds this module: it is published with what makes it, and Triton's Python backend runs it.",
            f"STEP = {as_it_is.call}(",
            *(f"    {line}" for line in lines),
            ")",
            "",
            "MODELS = (STEP,)",
            "",
        ]
    )
