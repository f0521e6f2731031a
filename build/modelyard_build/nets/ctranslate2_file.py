"""Reads the weights out of a model.bin as CTranslate2 writes it; nothing in it is code.

The layout (version 6, little-endian; `ctranslate2/specs/model_spec.py`, `ModelSpec._serialize`): version, name and
revision of the specification, then each variable as name, rank, sizes, number of its type and its bytes, then names
that stand for other names. A string is its length with a final zero, in two bytes, and its characters.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modelyard_build.errors import AssetUnavailable
from modelyard_build.model import Array, Arrays

VERSION = 6
# By their numbers in the file.
_DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)


class _Reader:
    """Takes one value after another off a buffer."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._offset = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f"<{form}", self._content, self._offset)
        self._offset += struct.calcsize(form)
        return int(value)

    def string(self) -> str:
        return self.bytes(self.number("H"))[:-1].decode()

    def bytes(self, length: int) -> bytes:
        start, self._offset = self._offset, self._offset + length
        if self._offset > len(self._content):
            raise struct.error(f"it ends at byte {len(self._content)}, within a variable")
        return self._content[start : self._offset]

    def variable(self) -> tuple[str, Array]:
        name = self.string()
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = _DTYPES[self.number("B")]
        return name, np.frombuffer(self.bytes(self.number("I")), dtype).reshape(shape)


def read(parts: Sequence[Path], spec: str) -> Arrays:
    """The variables of a model.bin by name, as they are stored; an alias is the array that it stands for.

    Args:
        parts: the file, or what it was cut into, in order.
        spec: the name of the specification that is expected ("WhisperSpec").

    Raises:
        AssetUnavailable: it is no such file.
    """
    reader = _Reader(b"".join(part.read_bytes() for part in parts))
    where = ", ".join(str(part) for part in parts)
    try:
        found = reader.number("I"), reader.string()
        if found != (VERSION, spec):
            raise AssetUnavailable(
                f"{where} holds {found[1]} in version {found[0]} of CTranslate2's format, expected {spec} in version "
                f"{VERSION}. Pin a package that holds it."
            )
        reader.number("I")  # the revision of the specification: names below decide
        variables = dict(reader.variable() for _ in range(reader.number("I")))
        aliases = [(reader.string(), reader.string()) for _ in range(reader.number("I"))]
    except (struct.error, UnicodeDecodeError, IndexError, ValueError) as error:
        raise AssetUnavailable(f"{where} is no model.bin of CTranslate2: {error}. Fetch it again.") from error
    return {**variables, **{alias: variables[name] for alias, name in aliases}}
