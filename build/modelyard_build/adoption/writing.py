"""What an adopted model is written as: a declaration with its example, a line in the list, a config; or nothing."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from modelyard_build import models
from modelyard_build.atomic import replacing
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Array, Arrays

# What is kept of an example in the tree, uncompressed.
MOST_BYTES = 256 << 10
_NEW_LINE = "\n"


def small(example: Arrays) -> Arrays:
    """An example that is small enough to be kept in the tree: fewer items, then corners of them."""
    found = dict(example)
    while _bytes(found) > MOST_BYTES and len(next(iter(found.values()))) > 1:
        found = {name: array[: max(1, len(array) // 2)] for name, array in found.items()}
    while _bytes(found) > MOST_BYTES:
        largest = max(found, key=lambda name: found[name].nbytes)
        found[largest] = _halved(found[largest])
    return found


def _bytes(example: Arrays) -> int:
    return sum(array.nbytes for array in example.values())


def _halved(array: Array) -> Array:
    """Half of the longest dimension: drawing repeats it."""
    longest = int(np.argmax(array.shape[1:])) + 1
    return np.take(array, range(max(1, array.shape[longest] // 2)), axis=longest)


def npz(example: Arrays) -> bytes:
    """The bytes of the file that holds an example."""
    written = io.BytesIO()
    np.savez_compressed(written, **example)
    return written.getvalue()


def listed(text: str, name: str) -> str:
    """The text of `models/__init__.py` with a name more in SYSTEMS, everything else as it is.

    Raises:
        AdoptionFailed: there is no such list in it.
    """
    found = next((value for value in map(_systems, ast.parse(text).body) if value), None)
    if found is None:
        raise AdoptionFailed(
            f"{models.FOLDER / '__init__.py'} has no SYSTEMS = ( ... ) that a line could be added to. Put it back."
        )
    if any(isinstance(item, ast.Constant) and item.value == name for item in found.elts):
        return text
    end = _offset(text, found) - 1
    last = _offset(text, found.elts[-1]) if found.elts else end
    between = text[last:end]
    comma = "," if found.elts and "," not in re.sub(r"#.*", "", between) else ""
    head = (text[:last] + comma + between).rstrip(" ")
    return f'{head}{"" if head.endswith(_NEW_LINE) else _NEW_LINE}    "{name}",\n{text[end:]}'


def _systems(statement: ast.stmt) -> ast.Tuple | None:
    """The tuple that a statement gives to SYSTEMS."""
    match statement:
        case ast.Assign([ast.Name("SYSTEMS")], ast.Tuple() as value) | ast.AnnAssign(
            ast.Name("SYSTEMS"), _, ast.Tuple() as value
        ):
            return value
    return None


def _offset(text: str, node: ast.expr) -> int:
    """Where a node ends."""
    lines = text.splitlines(keepends=True)
    assert node.end_lineno is not None and node.end_col_offset is not None  # noqa: S101, PT018  # it was parsed
    line = lines[node.end_lineno - 1].encode()[: node.end_col_offset].decode()
    return sum(map(len, lines[: node.end_lineno - 1])) + len(line)


def write(files: Iterable[tuple[Path, bytes]]) -> None:
    """Puts every file in its place, or, where one cannot be written, none.

    Raises:
        AdoptionFailed: a folder or a disk does not take them.
    """
    files = list(files)
    before = {path: path.read_bytes() if path.exists() else None for path, _ in files}
    try:
        for path, content in files:
            with replacing(path) as partial:
                partial.write_bytes(content)
    except BaseException as error:
        _put_back(before)
        if isinstance(error, OSError):
            raise AdoptionFailed(f"{error.filename}: {error.strerror}. Nothing was written.") from error
        raise


def _put_back(before: dict[Path, bytes | None]) -> None:
    for path, content in before.items():
        if content is None:
            # There may be no such folder, or a file in its place.
            with contextlib.suppress(OSError):
                path.unlink()
        elif path.read_bytes() != content:
            path.write_bytes(content)
