"""An archive of torch.export.save, read so that nothing of a stranger's runs: no pickle, nothing but arithmetic.

torch.export.load unpickles examples, constants and legacy weights without a limit, and has sympy evaluate the sizes
that stand in the archive as Python. So the archive is checked member by member, and what is loaded is a copy with just
the members that were checked.
"""

from __future__ import annotations

import ast
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from modelyard_build.errors import AdoptionFailed
from modelyard_build.module_checks import first_line

# What sizes are written with: sympy's own names, and those that torch adds.
_FUNCTIONS = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Pow",
        "Mod",
        "Max",
        "Min",
        "Abs",
        "floor",
        "ceiling",
        "FloorDiv",
        "CleanDiv",
        "CeilDiv",
        "CeilToInt",
        "FloorToInt",
        "IntTrueDiv",
        "FloatTrueDiv",
        "PythonMod",
        "PowByNatural",
        "FloatPow",
        "ModularIndexing",
        "Where",
        "TruncToInt",
        "TruncToFloat",
        "RoundToInt",
        "RoundDecimal",
        "ToFloat",
        "LShift",
        "RShift",
        "Identity",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Equality",
        "Unequality",
        "StrictLessThan",
        "LessThan",
        "StrictGreaterThan",
        "GreaterThan",
        "And",
        "Or",
        "Not",
        "Piecewise",
        "ExprCondPair",
    ]
)
_SYNTAX = (
    ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp,
    ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_LONGEST_EXPRESSION = 10_000
# Members that Python objects are read from; all others are bytes of tensors or JSON.
_EXAMPLES = "data/sample_inputs/"
_PICKLED = ("custom_obj_", "opaque_obj_")


def load(path: Path) -> torch.export.ExportedProgram:
    """Loads a program.

    Raises:
        AdoptionFailed: it is damaged, of another kind, or holds what is not plain tensors.
    """
    archive = _checked(path)
    try:
        return torch.export.load(archive)
    except Exception as error:
        # Whatever its deserialiser stumbles over.
        raise AdoptionFailed(
            f"{path}: torch {torch.__version__} does not load this program: {first_line(error)}. It may come from a "
            "newer torch: export it again with this one, or install that one."
        ) from error


def _checked(path: Path) -> io.BytesIO:
    copy = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
            names = archive.namelist()
            if len({name.lower() for name in names}) < len(names):
                raise AdoptionFailed(f"{path} has two members of one name; no torch writes that. It is not opened.")
            for name in names:
                content = archive.read(name)
                _check_member(path, name.partition("/")[2], content)
                target.writestr(name, content)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise AdoptionFailed(
            f"{path} cannot be read: {first_line(error)}. Expected is what torch.export.save writes, whole."
        ) from error
    copy.seek(0)
    return copy


def _check_member(path: Path, name: str, content: bytes) -> None:
    file = name.rpartition("/")[2]
    if name.startswith(_EXAMPLES):
        _check_examples(path, content)
    elif file.startswith(_PICKLED) or (name.startswith("data/") and file.endswith(".pt")):
        raise AdoptionFailed(
            f"{path} holds Python objects ({name}), which are pickles and could run anything. Export the model with "
            "this torch, without custom classes, and save it again."
        )
    elif file.endswith(".json"):
        for key, value in _entries(_json(path, name, content)):
            _check_entry(path, key, value)


def _check_examples(path: Path, content: bytes) -> None:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:
        # The unpickler's refusals and what damage makes of it have no common base.
        raise AdoptionFailed(
            f"{path}: its example inputs are not plain tensors, and a pickle of anything else could run anything. Save "
            f"the program again with tensors as its example ({first_line(error)})."
        ) from error


def _json(path: Path, name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AdoptionFailed(f"{path}: {name} is no JSON: {first_line(error)}. The archive is damaged.") from error


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            yield from inner.items()
            waiting.extend(inner.values())
        elif isinstance(inner, list):
            waiting.extend(inner)


def _check_entry(path: Path, key: str, value: Any) -> None:
    if key == "use_pickle" and value:
        raise AdoptionFailed(
            f"{path} keeps weights as pickles (tensor subclasses), which could run anything. Export the model with "
            "plain tensors as weights, and save it again."
        )
    if key == "expr_str" and not is_arithmetic(value):
        raise AdoptionFailed(
            f"{path} gives a size as {str(value)[:100]!r}, which is no arithmetic over sizes. It is not opened."
        )


def is_arithmetic(text: Any) -> bool:
    """Whether a text is an expression over symbols and numbers that evaluates nothing else."""
    if not isinstance(text, str) or len(text) > _LONGEST_EXPRESSION:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    symbols = {id(node.args[0]) for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_symbol(node)}
    return all(_is_allowed(node, symbols) for node in ast.walk(tree))


def _is_symbol(node: ast.Call) -> bool:
    named = isinstance(node.func, ast.Name) and node.func.id == "Symbol" and len(node.args) == 1
    return named and isinstance(node.args[0], ast.Constant)


def _is_allowed(node: ast.AST, symbols: set[int]) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return id(node) in symbols and node.value.isidentifier() and "__" not in node.value
    if isinstance(node, ast.Name):
        return "__" not in node.id
    return isinstance(node, _SYNTAX)
