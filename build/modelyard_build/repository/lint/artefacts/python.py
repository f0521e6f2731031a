"""A model.py, by its syntax tree: nothing of it is run."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard_build.repository.lint.artefacts.artefact import Artefact, Unreadable
from modelyard_build.repository.lint.artefacts.window import opened

CLASS = "TritonPythonModel"
_MOST_BYTES = 1 << 20
# What can make a name without writing it.
_HIDDEN = ("import *", "exec(", "globals(", "vars(", "__dict__", "setattr(")
# The container's Python, and what it has that an older one refuses.
_NEWEST = (3, 12)
_NEWER_SYNTAX = re.compile(r"\s*(type\s+\w|(async\s+)?def\s+\w+\s*\[|class\s+\w+\s*\[|except\s*\*)")


def read_python(path: Path, manifest: Mapping[str, Any]) -> Artefact:
    """Reads a Python model.

    `details` has "faults", (line, what is wrong) of what the stub would refuse; "without_execute", the line of a class
    without that method, or 0; and "completes", whether the model may complete its config.
    """
    try:
        with opened(path) as window:
            if window.size > _MOST_BYTES:
                raise Unreadable("has more than 1 MiB; no model.py is read that has")
            source = window.bytes(0, window.size)
        return Artefact(path, details=_details(source))
    except Unreadable as error:
        return Artefact(path, problem=str(error), broken=error.broken)


def _details(source: bytes) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        if _may_be_newer(error):
            raise Unreadable(f"is not Python {sys.version_info[0]}.{sys.version_info[1]}: {error.msg}") from None
        return _faulty(error.lineno or 1, f"no Python: {error.msg}")
    except ValueError as error:
        return _faulty(1, f"no Python: {error}")
    except (RecursionError, MemoryError):
        raise Unreadable("is nested too deeply to be read") from None
    text = source.decode("utf-8", "replace")
    hides = any(word in text for word in _HIDDEN)
    if CLASS not in text and not hides:
        return _faulty(1, f"there is no class {CLASS}")
    model = None if hides else _plain_class(tree)
    return {
        "faults": (),
        "without_execute": model.lineno if model and "execute" not in _names(model) else 0,
        "completes": model is None or "auto_complete_config" in text,
    }


def _faulty(line: int, fault: str) -> dict[str, Any]:
    return {"faults": ((line, fault),), "without_execute": 0, "completes": False}


def _may_be_newer(error: SyntaxError) -> bool:
    """Whether the Python of the server may know what this one does not."""
    newer = "f-string" in error.msg or _NEWER_SYNTAX.match(error.text or "")
    return sys.version_info[:2] < _NEWEST and bool(newer)


def _plain_class(tree: ast.Module) -> ast.ClassDef | None:
    """The model's class, where nothing but its own body makes it."""
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == CLASS]
    if not found or found[-1].bases or found[-1].keywords or found[-1].decorator_list:
        return None
    return found[-1]


def _names(model: ast.ClassDef) -> set[str]:
    """Every name that stands in a class's body, wherever: an assignment in an `if` binds it too."""
    named = {node.name for node in ast.walk(model) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return named | {node.id for node in ast.walk(model) if isinstance(node, ast.Name)}
