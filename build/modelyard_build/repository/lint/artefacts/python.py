"""A model.py, by its syntax tree: nothing of it is run."""

from __future__ import annotations

import ast
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
_NEWEST = (3, 12)


def read_python(path: Path, manifest: Mapping[str, Any]) -> Artefact:
    """Reads a Python model: `details["faults"]` are (line, what is wrong) of what the stub would refuse."""
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
        return {"faults": ((error.lineno or 1, f"no Python: {error.msg}"),)}
    except ValueError as error:
        return {"faults": ((1, f"no Python: {error}"),)}
    except (RecursionError, MemoryError):
        raise Unreadable("is nested too deeply to be read") from None
    text = source.decode("utf-8", "replace")
    fault = _fault(tree, text)
    return {"faults": (fault,) if fault else (), "completes": _may_complete(tree, text)}


def _may_be_newer(error: SyntaxError) -> bool:
    """Whether the Python of the server may know what this one does not."""
    line = (error.text or "").lstrip()
    newer = ("f-string" in error.msg) or line.startswith(("type ", "def ", "async def ", "class ", "except"))
    return sys.version_info[:2] < _NEWEST and newer


def _may_complete(tree: ast.Module, text: str) -> bool:
    """Whether the model may complete its config."""
    plain = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == CLASS and not node.bases]
    return not plain or "auto_complete_config" in text or any(word in text for word in _HIDDEN)


def _fault(tree: ast.Module, text: str) -> tuple[int, str] | None:
    if CLASS not in text:
        hidden = any(word in text for word in _HIDDEN)
        return None if hidden else (1, f"no class {CLASS}")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == CLASS]
    if not classes or any(word in text for word in _HIDDEN):
        return None
    model = classes[-1]
    if model.bases or model.keywords or model.decorator_list or "execute" in _names(model):
        return None
    return model.lineno, f"a {CLASS} without execute"


def _names(model: ast.ClassDef) -> set[str]:
    """Every name that stands in a class's body, wherever: an assignment in an `if` binds it too."""
    named = {node.name for node in ast.walk(model) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return named | {node.id for node in ast.walk(model) if isinstance(node, ast.Name)}
