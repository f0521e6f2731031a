"""The ends of an OpenVINO model: its .xml up to the results, and the size of the .bin beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from modelyard_build.repository.lint.artefacts.artefact import Artefact, TensorInfo, Unreadable
from modelyard_build.repository.lint.artefacts.onnx import read_onnx
from modelyard_build.repository.lint.artefacts.window import Window, opened

# Those of the container's openvino backend; the spelling of a port's precision, and of a Parameter's element type.
DATA_TYPES = {
    "boolean": "TYPE_BOOL",
    "bool": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "fp16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "fp32": "TYPE_FP32",
}
_MOST_BYTES = 64 << 20
_CHUNK = 64 << 10
# Errors of expat that mean that the text ends too early.
_CUT_OFF = {
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
}
PortId = tuple[str, str]


@dataclass
class _Port:
    """An input or output of a layer."""

    names: tuple[str, ...]
    precision: str
    dims: list[int] = field(default_factory=list)


@dataclass
class _Layer:
    """A Parameter or a Result."""

    id: str
    kind: str
    name: str
    output_names: tuple[str, ...]
    port: _Port | None = None
    element_type: str = ""
    open_rank: bool = False


@dataclass
class _Network:
    """What was seen so far."""

    ends: list[_Layer] = field(default_factory=list)
    port_names: dict[PortId, tuple[str, ...]] = field(default_factory=dict)
    sources: dict[str, PortId] = field(default_factory=dict)
    weights: int = 0
    has_layout: bool = False


class _Enough(Exception):
    """The rest of the file is not needed."""


def read_openvino(path: Path, manifest: Mapping[str, Any]) -> Artefact:
    """Reads an OpenVINO IR; of an ONNX file, which the backend takes too, its header."""
    if path.suffix == ".onnx":
        return read_onnx(path, manifest)
    if path.suffix != ".xml":
        return Artefact(path, problem="is neither OpenVINO IR nor ONNX")
    try:
        with opened(path) as window:
            network = _read(window)
            return _artefact(path, network)
    except Unreadable as error:
        return Artefact(path, problem=str(error), broken=error.broken)


def _artefact(path: Path, network: _Network) -> Artefact:
    aliases: dict[str, frozenset[str]] = {}
    tensors: dict[str, list[TensorInfo]] = {"Parameter": [], "Result": []}
    for layer in network.ends:
        names = _names(layer, network)
        if not names:
            raise Unreadable(f"names no tensor at its {layer.kind} {layer.name!r}")
        # OpenVINO calls a tensor of several names by the first in the alphabet.
        aliases[min(names)] = frozenset(names)
        tensors[layer.kind].append(TensorInfo(min(names), _dtype(layer), _shape(layer)))
    return Artefact(
        path,
        inputs=tuple(tensors["Parameter"]),
        outputs=tuple(tensors["Result"]),
        details={
            "aliases": aliases,
            "has_layout": network.has_layout,
            "weights_needed": network.weights,
            "weights_size": _weights_size(path),
        },
    )


def _weights_size(path: Path) -> int | None:
    try:
        return path.with_suffix(".bin").stat().st_size
    except OSError:
        return None


def _names(layer: _Layer, network: _Network) -> tuple[str, ...]:
    if layer.kind == "Parameter":
        return layer.port.names if layer.port else ()
    return layer.output_names or network.port_names.get(network.sources.get(layer.id, ("", "")), ())


def _dtype(layer: _Layer) -> str:
    precision = layer.element_type or (layer.port.precision if layer.port else "")
    return DATA_TYPES.get(precision.lower(), "")


def _shape(layer: _Layer) -> tuple[int, ...] | None:
    return None if layer.open_rank or layer.port is None else tuple(layer.port.dims)


def _read(window: Window) -> _Network:
    """Walks the file.

    Raises:
        Unreadable: it is no IR, or has what no IR needs.
    """
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.buffer_text = True
    try:
        for position in range(0, min(window.size, _MOST_BYTES), _CHUNK):
            parser.Parse(window.bytes(position, min(position + _CHUNK, window.size)), False)
        if window.size > _MOST_BYTES:
            raise Unreadable(f"has more than {_MOST_BYTES >> 20} MiB")
        parser.Parse(b"", True)
    except _Enough:
        pass
    except expat.ExpatError as error:
        if error.code in _CUT_OFF:
            raise Unreadable("ends in the middle" if window.size else "is empty", broken=True) from None
        raise Unreadable(f"is not XML that can be read here: {error}") from None
    return reader.network


def _refuse_doctype(name: str, system: str | None, public: str | None, has_internal: int) -> None:
    # Entities of entities grow without end, and no IR has any.
    raise Unreadable("has a DOCTYPE, which no OpenVINO IR has")


class _Reader:
    """Takes the elements as they come. A layer's inner networks (If, Loop) are stepped over."""

    def __init__(self) -> None:
        self.network = _Network()
        self._path: list[str] = []
        self._layer: _Layer | None = None
        self._layer_id = ""
        self._port: _Port | None = None
        self._text = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        path.append(name)
        depth = len(path)
        if depth == 1:
            if name != "net":
                raise Unreadable(f"has the root <{name[:40]}>, expected <net>; it is no OpenVINO IR", broken=True)
        elif depth == 3 and name == "layer" and path[1] == "layers":
            self._start_layer(attributes)
        elif depth == 4 and name == "data" and path[1] == "layers":
            self._data(attributes)
        elif depth == 5 and name == "port" and path[1] == "layers":
            self._start_port(attributes)
        elif depth == 6 and name == "dim":
            self._text = ""
        elif name == "attribute" and self._layer is not None and attributes.get("name") == "layout":
            self.network.has_layout = True
        elif depth == 3 and name == "edge" and path[1] == "edges":
            source = (attributes.get("from-layer", ""), attributes.get("from-port", ""))
            self.network.sources[attributes.get("to-layer", "")] = source

    def end(self, name: str) -> None:
        depth = len(self._path)
        if depth == 6 and name == "dim" and self._port is not None:
            self._port.dims.append(_size(self._text))
        elif depth == 5:
            self._port = None
        elif depth == 3:
            self._layer = None
        elif depth == 2 and name == "layers" and not self._needs_edges():
            raise _Enough
        self._path.pop()

    def text(self, data: str) -> None:
        if self._port is not None and len(self._text) < 32:
            self._text += data

    def _start_layer(self, attributes: dict[str, str]) -> None:
        self._layer_id = attributes.get("id", "")
        kind = attributes.get("type", "")
        if kind in ("Parameter", "Result"):
            output_names = _split(attributes.get("output_names", ""))
            self._layer = _Layer(self._layer_id, kind, attributes.get("name", ""), output_names)
            self.network.ends.append(self._layer)

    def _data(self, attributes: dict[str, str]) -> None:
        if self._layer is not None:
            self._layer.element_type = attributes.get("element_type", "")
            self._layer.open_rank = attributes.get("shape") == "..."
        elif "offset" in attributes and "size" in attributes:
            end = _natural(attributes["offset"]) + _natural(attributes["size"])
            self.network.weights = max(self.network.weights, end)

    def _start_port(self, attributes: dict[str, str]) -> None:
        names = _split(attributes.get("names", ""))
        is_output = self._path[-2] == "output"
        if is_output and names:
            self.network.port_names[self._layer_id, attributes.get("id", "")] = names
        if self._layer is not None and is_output == (self._layer.kind == "Parameter"):
            self._port = self._layer.port = _Port(names, attributes.get("precision", ""))

    def _needs_edges(self) -> bool:
        return any(layer.kind == "Result" and not layer.output_names for layer in self.network.ends)


def _split(names: str) -> tuple[str, ...]:
    """Names stand side by side; a comma within one has a backslash before it."""
    parts = names.replace("\\,", "\0").split(",")
    return tuple(part.replace("\0", ",") for part in parts if part)


def _size(text: str) -> int:
    number = text.strip()
    return int(number) if number.isascii() and number.isdigit() and len(number) < 20 else -1


def _natural(text: str) -> int:
    return max(0, _size(text))
