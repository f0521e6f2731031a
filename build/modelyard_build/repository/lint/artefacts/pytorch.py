"""A PyTorch archive: TorchScript with the arguments of its `forward`, a compiled PT2 archive, or neither.

No pickle is opened: the name of the module's class stands at the head of `data.pkl`, its code in plain text beside.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard_build.repository.lint.artefacts.artefact import Artefact, Unreadable
from modelyard_build.repository.lint.artefacts.window import Window, opened

if TYPE_CHECKING:
    from zipfile import ZipFile

TORCHSCRIPT = "TorchScript"
AOT_INDUCTOR = "AOTInductor"
EXPORTED_PROGRAM = "torch.export"
SAVED = "torch.save"

_MOST_DIRECTORY = 4 << 20
_MOST_CODE = 4 << 20
_CLASS = re.compile(rb"\x80\x02c(__torch__[\w.]*)\n(\w+)\n")
_FORWARD = re.compile(r"^  def forward\(self: [^,()]*(?:,\s*([^()]*))?\) -> ([^\n]+):\n", re.MULTILINE)
_ARGUMENT = re.compile(r"\s*(\w+): ([^=]+?)(?:=.*)?\s*", re.DOTALL)


def read_pytorch(path: Path, manifest: Mapping[str, Any]) -> Artefact:
    """Reads what an archive lists of itself: `details["kind"]` is one of the four above."""
    try:
        with opened(path) as window:
            return Artefact(path, details=_details(window))
    except Unreadable as error:
        return Artefact(path, problem=str(error), broken=error.broken)


def _details(window: Window) -> dict[str, Any]:
    # Takes longer to import than any file to read, and most repositories have no PyTorch.
    import zipfile
    import zlib

    if window.size >= 8 and window.bytes(4, 8) == b"PTMF":
        raise Unreadable("is in TorchScript's mobile format")
    try:
        with zipfile.ZipFile(io.BufferedReader(_Bounded(window))) as archive:
            names = archive.namelist()
            kind = _kind(names)
            return {"kind": kind, **(_signature(archive, names) if kind == TORCHSCRIPT else {})}
    except zipfile.BadZipFile as error:
        is_none = str(error) == "File is not a zip file"
        raise Unreadable("is no PyTorch archive, or only the beginning of one", broken=is_none) from None
    except (NotImplementedError, RuntimeError, ValueError, OverflowError, LookupError, EOFError, zlib.error) as error:
        raise Unreadable(f"is a zip file that cannot be read here: {error}") from None


class _Bounded(io.RawIOBase):
    """The file for `zipfile`, which would take a directory of any size into memory."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._window.size}[whence]
        if start + offset < 0:
            raise OSError("before the start")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), max(0, self._window.size - self._position))
        if size > _MOST_DIRECTORY:
            raise Unreadable("has a directory of more than 4 MiB")
        buffer[:size] = self._window.bytes(self._position, self._position + size)
        self._position += size
        return size


def _kind(names: list[str]) -> str:
    inner = {name.partition("/")[2] for name in names}
    if "model.json" in inner:
        raise Unreadable("is TorchScript of before PyTorch 1.4")
    if any(name.startswith("data/aotinductor/") for name in inner):
        return AOT_INDUCTOR
    if any(name.startswith("models/") and name.endswith(".json") for name in inner):
        return EXPORTED_PROGRAM
    if "constants.pkl" in inner:
        return TORCHSCRIPT
    if "data.pkl" in inner:
        return SAVED
    raise Unreadable("is a zip file, but none that PyTorch wrote")


def _signature(archive: ZipFile, names: list[str]) -> dict[str, Any]:
    """The arguments of `forward` with their types, and the type that it returns; empty where they cannot be told."""
    prefix = names[0].partition("/")[0]
    found = _CLASS.match(_head(archive, f"{prefix}/data.pkl", 4096))
    if not found:
        return {}
    module, name = found[1].decode(), found[2].decode()
    code = _head(archive, f"{prefix}/code/{module.replace('.', '/')}.py", _MOST_CODE).decode("utf-8", "replace")
    _, _, body = f"\n{code}".partition(f"\nclass {name}(Module):\n")
    forward = _FORWARD.search(body.partition("\nclass ")[0])
    if not forward:
        return {}
    parsed = [_ARGUMENT.fullmatch(part) for part in _split(forward[1] or "")]
    if None in parsed:
        return {}
    return {"arguments": tuple((part[1], part[2].strip()) for part in parsed if part), "returns": forward[2].strip()}


def _head(archive: ZipFile, name: str, size: int) -> bytes:
    if name not in archive.NameToInfo:
        return b""
    with archive.open(name) as file:
        return file.read(size)


def _split(arguments: str) -> list[str]:
    """At the commas that stand in no brackets."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]
