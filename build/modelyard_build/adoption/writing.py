"""What an adopted model is written as: a declaration with its example, a line in the list, a config; or nothing."""

from __future__ import annotations

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
_LIST = re.compile(r"^SYSTEMS(?::[^=\n]*)? = \((?P<names>[^)]*)\)", re.MULTILINE)


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
    match = _LIST.search(text)
    if match is None:
        raise AdoptionFailed(
            f"{models.FOLDER / '__init__.py'} has no SYSTEMS = ( ... ) that a line could be added to. Put it back."
        )
    if re.search(rf"""["']{name}["']""", match["names"]):
        return text
    names = match["names"].rstrip()
    comma = "" if not names or names.endswith(",") else ","
    return f'{text[: match.start("names")]}{names}{comma}\n    "{name}",\n{text[match.end("names") :]}'


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
