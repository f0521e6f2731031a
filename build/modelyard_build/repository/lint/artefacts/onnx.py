"""The header of an ONNX file: signature, versions, operators, and where weights outside of it lie.

The numbers are those of the fields in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Weights are stepped over.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard_build.repository.lint.artefacts.artefact import Artefact, TensorInfo, Unreadable
from modelyard_build.repository.lint.artefacts.protobuf import BYTES, VARINT, Message, signed
from modelyard_build.repository.lint.artefacts.window import Window, opened

DEFAULT_FILENAME = "model.onnx"
# Triton's types by TensorProto.DataType; those of 8, 4 and 2 bits, and complex numbers, it does not have.
DATA_TYPES = {
    1: "TYPE_FP32",
    2: "TYPE_UINT8",
    3: "TYPE_INT8",
    4: "TYPE_UINT16",
    5: "TYPE_INT16",
    6: "TYPE_INT32",
    7: "TYPE_INT64",
    8: "TYPE_STRING",
    9: "TYPE_BOOL",
    10: "TYPE_FP16",
    11: "TYPE_FP64",
    12: "TYPE_UINT32",
    13: "TYPE_UINT64",
    16: "TYPE_BF16",
}
_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
# Protobuf itself reads no file that is larger.
_MOST_BYTES = (1 << 31) - 1
_DEEPEST = 32
_MOST_NAMES = 10_000
# An attribute that holds a graph or a tensor with weights elsewhere has more bytes than this.
_SMALL_ATTRIBUTE = 16
_EXTERNAL = 1


@dataclass(frozen=True)
class ExternalFile:
    """A file that weights lie in.

    Attributes:
        location: as the ONNX file names it: relative to its own folder.
        end: how many bytes of it are needed at least.
        size: how many it has; None where there is none.
        outside: whether the name leads out of the ONNX file's folder.
    """

    location: str
    end: int
    size: int | None
    outside: bool


@dataclass
class _Graph:
    """What was seen so far."""

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[TensorInfo] = field(default_factory=list)
    outputs: list[TensorInfo] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    initializers: set[str] = field(default_factory=set)
    operators: dict[str, set[str]] = field(default_factory=dict)
    function_domains: set[str] = field(default_factory=set)
    external: dict[str, int] = field(default_factory=dict)
    has_graph: bool = False


def read_onnx(path: Path, manifest: Mapping[str, Any]) -> Artefact:
    """Reads an ONNX file, or the one in a folder of that name."""
    file = path / DEFAULT_FILENAME if path.is_dir() else path
    try:
        if file != path and not file.is_file():
            raise Unreadable(f"is a folder without {DEFAULT_FILENAME} in it", broken=True)
        with opened(file) as window:
            graph = _read(window)
            return _artefact(path, file, graph)
    except Unreadable as error:
        return Artefact(path, problem=str(error), broken=error.broken, details={"file": file})


def _read(window: Window) -> _Graph:
    """Walks the file.

    Raises:
        Unreadable: it is no ONNX, or too long.
    """
    if window.size > _MOST_BYTES:
        raise Unreadable("has more than 2 GiB, which protobuf does not read; keep weights beside it", broken=True)
    if window.size >= 8 and window.bytes(4, 8) == b"ORTM":
        raise Unreadable("is in ONNX Runtime's own format")
    graph = _Graph()
    _model(Message(window, 0, window.size), graph)
    if not graph.has_graph:
        raise Unreadable("has no graph; it is no ONNX model" if window.size else "is empty", broken=True)
    if not graph.opsets:
        raise Unreadable("names no opset (opset_import), which every ONNX model must", broken=True)
    return graph


def _artefact(path: Path, file: Path, graph: _Graph) -> Artefact:
    defaults = graph.initializers
    # Before IR version 4 each initializer had to be an input too, and was none.
    optional = [tensor for tensor in graph.inputs if tensor.name in defaults and graph.ir_version >= 4]
    return Artefact(
        path,
        inputs=(*(tensor for tensor in graph.inputs if tensor.name not in defaults), *optional),
        outputs=tuple(graph.outputs),
        optional_inputs=frozenset(tensor.name for tensor in optional),
        details={
            "file": file,
            "ir_version": graph.ir_version,
            "opsets": graph.opsets,
            "operators": graph.operators,
            "function_domains": frozenset(graph.function_domains),
            "external_files": _external_files(file.parent, graph.external),
            "kinds": graph.kinds,
        },
    )


def _external_files(folder: Path, locations: Mapping[str, int]) -> tuple[ExternalFile, ...]:
    return tuple(_external_file(folder, location, end) for location, end in locations.items())


def _external_file(folder: Path, location: str, end: int) -> ExternalFile:
    inside = os.path.normpath(location)
    outside = not location or location.startswith("/") or inside == ".." or inside.startswith("../")
    try:
        size = (folder / location).stat().st_size if not outside else None
    except (OSError, ValueError):
        size = None
    return ExternalFile(location, end, size, outside)


def _model(message: Message, seen: _Graph) -> None:
    for number, wire, value, end in message.fields():
        if wire == VARINT and number == 1:
            seen.ir_version = signed(value)
        elif wire != BYTES:
            continue
        elif number == 7:
            seen.has_graph = True
            _graph(message.inner(value, end), seen, 0)
        elif number == 8:
            domain, version = _opset(message.inner(value, end))
            seen.opsets["" if domain == "ai.onnx" else domain] = version
        elif number == 25:
            seen.function_domains.add(_text_at(message.inner(value, end), 10))


def _opset(message: Message) -> tuple[str, int]:
    domain, version = "", 0
    for number, wire, value, end in message.fields():
        if wire == BYTES and number == 1:
            domain = message.text(value, end)
        elif wire == VARINT and number == 2:
            version = signed(value)
    return domain, version


def _text_at(message: Message, wanted: int) -> str:
    """The last text of a field, which is the one that counts."""
    text = ""
    for number, wire, value, end in message.fields():
        if wire == BYTES and number == wanted:
            text = message.text(value, end)
    return text


def _graph(message: Message, seen: _Graph, depth: int) -> None:
    if depth > _DEEPEST:
        raise Unreadable(f"has graphs within graphs, more than {_DEEPEST} deep")
    for number, wire, value, end in message.fields():
        if wire != BYTES:
            continue
        if number == 1:
            _node(message.inner(value, end), seen, depth)
        elif number == 5 or number == 15:
            tensor = message.inner(value, end)
            name = _tensor(tensor, seen) if number == 5 else _sparse_tensor(tensor, seen)
            if not depth:
                seen.initializers.add(name)
        elif not depth and (number == 11 or number == 12):
            _value_info(message.inner(value, end), seen, is_input=number == 11)


def _node(message: Message, seen: _Graph, depth: int) -> None:
    operator, domain = "", ""
    for number, wire, value, end in message.fields():
        if wire != BYTES:
            continue
        if number == 4:
            operator = message.text(value, end)
        elif number == 7:
            domain = message.text(value, end)
        elif number == 5 and end - value > _SMALL_ATTRIBUTE:
            _attribute(message.inner(value, end), seen, depth)
    known = seen.operators.setdefault("" if domain == "ai.onnx" else domain, set())
    if len(known) < _MOST_NAMES:
        known.add(operator)
    if len(seen.operators) > _MOST_NAMES:
        raise Unreadable(f"has more than {_MOST_NAMES} domains of operators")


def _attribute(message: Message, seen: _Graph, depth: int) -> None:
    for number, wire, value, end in message.fields():
        if wire != BYTES:
            continue
        if number == 6 or number == 11:
            _graph(message.inner(value, end), seen, depth + 1)
        elif number == 5 or number == 10:
            _tensor(message.inner(value, end), seen)


def _sparse_tensor(message: Message, seen: _Graph) -> str:
    """The name is that of its values."""
    name = ""
    for number, wire, value, end in message.fields():
        if wire == BYTES and number == 1:
            name = _tensor(message.inner(value, end), seen)
        elif wire == BYTES and number == 2:
            _tensor(message.inner(value, end), seen)
    return name


def _tensor(message: Message, seen: _Graph) -> str:
    """Its name; where its bytes lie elsewhere, that too."""
    name, dtype, is_external = "", 0, False
    dims: list[int] = []
    external: dict[str, str] = {}
    for number, wire, value, end in message.fields():
        if number == 1:
            dims += [signed(value)] if wire == VARINT else _packed(message, value, end) if wire == BYTES else []
        elif number == 2 and wire == VARINT:
            dtype = value
        elif number == 8 and wire == BYTES:
            name = message.text(value, end)
        elif number == 13 and wire == BYTES:
            key, text = _entry(message.inner(value, end))
            external[key] = text
        elif number == 14 and wire == VARINT:
            is_external = value == _EXTERNAL
    if is_external:
        _note_external(external, dims, dtype, seen)
    return name


def _packed(message: Message, start: int, end: int) -> list[int]:
    """Sizes in one field: protobuf reads them so too."""
    if end - start > _SMALL_ATTRIBUTE * 10:
        return []
    # A run of varints has the form of the varints behind as many tags.
    data = b"".join(bytes((8,)) + piece for piece in _pieces(message.inner(start, end).raw()))
    return [signed(value) for _, _, value, _ in Message(data, 0, len(data)).fields()]


def _pieces(data: bytes) -> list[bytes]:
    pieces, start = [], 0
    for index, byte in enumerate(data):
        if byte < 0x80:
            pieces.append(data[start : index + 1])
            start = index + 1
    return pieces


def _entry(message: Message) -> tuple[str, str]:
    return _text_at(message, 1), _text_at(message, 2)


def _note_external(entries: Mapping[str, str], dims: list[int], dtype: int, seen: _Graph) -> None:
    """ONNX Runtime maps `length` bytes from `offset`, or what the shape asks for."""
    offset = _number(entries.get("offset", "0"))
    length = _number(entries.get("length", ""))
    needed = length or max(0, math.prod(dims[:16]) * _BYTES.get(dtype, 0))
    location = entries.get("location", "")
    seen.external[location] = max(seen.external.get(location, 0), offset + needed)
    if len(seen.external) > _MOST_NAMES:
        raise Unreadable(f"has weights in more than {_MOST_NAMES} files")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _value_info(message: Message, seen: _Graph, *, is_input: bool) -> None:
    name, kind, dtype = "", "", 0
    shape: tuple[int, ...] | None = None
    for number, wire, value, end in message.fields():
        if wire == BYTES and number == 1:
            name = message.text(value, end)
        elif wire == BYTES and number == 2:
            kind, dtype, shape = _type(message.inner(value, end))
    tensors = seen.inputs if is_input else seen.outputs
    tensors.append(TensorInfo(name, DATA_TYPES.get(dtype, ""), shape))
    if kind != "tensor":
        seen.kinds[name] = kind
    if len(tensors) > _MOST_NAMES:
        raise Unreadable(f"has more than {_MOST_NAMES} inputs or outputs")


_KINDS = {1: "tensor", 4: "sequence", 5: "map", 7: "opaque", 8: "sparse tensor", 9: "optional"}


def _type(message: Message) -> tuple[str, int, tuple[int, ...] | None]:
    """What kind of value, and of a tensor its element type and shape."""
    kind, dtype = "", 0
    shape: tuple[int, ...] | None = None
    for number, wire, value, end in message.fields():
        if wire == BYTES and number in _KINDS:
            kind = _KINDS[number]
            if number == 1:
                dtype, shape = _tensor_type(message.inner(value, end))
    return kind, dtype, shape


def _tensor_type(message: Message) -> tuple[int, tuple[int, ...] | None]:
    dtype = 0
    shape: tuple[int, ...] | None = None
    for number, wire, value, end in message.fields():
        if wire == VARINT and number == 1:
            dtype = value
        elif wire == BYTES and number == 2:
            dims = message.inner(value, end)
            shape = tuple(
                _dim(dims.inner(start, stop))
                for number, wire, start, stop in dims.fields()
                if wire == BYTES and number == 1
            )
    return dtype, shape


def _dim(message: Message) -> int:
    """-1 where it has a name, or nothing."""
    size = -1
    for number, wire, value, _ in message.fields():
        if number == 1 and wire == VARINT:
            size = max(-1, signed(value))
        elif number == 2:
            size = -1
    return size
