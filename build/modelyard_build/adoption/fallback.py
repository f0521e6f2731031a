"""The file that declares a module which cannot be exported: served as it is, through Triton's Python backend."""

from __future__ import annotations

import json
from pathlib import Path

from modelyard_build.adoption import declaration, user_code
from modelyard_build.adoption.inspection import Inspected
from modelyard_build.adoption.origin import Opened, Wish
from modelyard_build.errors import AdoptionFailed

_EXPORTED = "\nMODELS = (MODEL,)\n"
_IMPORT = "from modelyard_build.adoption.drawing import drawn\n"


def render(wish: Wish, opened: Opened, inspected: Inspected) -> str:
    """The text of `models/NAME.py`: what an export would take, and in its last lines that there is none.

    Args:
        wish: what the user said.
        opened: what it was opened as.
        inspected: what was found out of it.

    Raises:
        AdoptionFailed: the origin is no Python file, so that there is nothing to publish that makes the module.
    """
    path, colon, name = wish.origin.rpartition(":")
    if not (colon and path.endswith(".py")):
        raise AdoptionFailed(
            f"{wish.origin} cannot be exported; what is served as it is, is a class or a function of a Python file. "
            "Name it: --from net.py:Net. For a model of another origin write a file with a function that makes it "
            "without arguments and give that, with --weights."
        )
    root, module = user_code.module_name(Path(path).expanduser().resolve())
    sources = {
        file.relative_to(root).as_posix(): file for file in user_code.files_with(Path(path).expanduser().resolve())
    }
    exported = declaration.render(wish, opened, inspected)
    body = exported.replace(_IMPORT, f"from modelyard_build import module_step\n{_IMPORT}", 1).removesuffix(_EXPORTED)
    return body + _ending(f"{module}:{name}", sources, inspected)


def _ending(module: str, sources: dict[str, Path], inspected: Inspected) -> str:
    lines = [
        "MODEL,",
        f"module={json.dumps(module)},",
        "sources={",
        *(f"    {json.dumps(file)}: LocalAsset(Path({json.dumps(str(path))}))," for file, path in sources.items()),
        "},",
        "original=original,",
        "places=PLACES,",
        *([f"batch={json.dumps(inspected.batch_at)},"] if inspected.batch_at else []),
        *([f"numbers={json.dumps(list(inspected.numbers))},"] if inspected.numbers else []),
    ]
    return "\n".join(
        [
            "",
            "# No graph holds this module: it is published with its own files, and Triton's Python backend runs it.",
            "STEP = module_step.as_it_is(",
            *(f"    {line}" for line in lines),
            ")",
            "",
            "MODELS = (STEP,)",
            "",
        ]
    )
