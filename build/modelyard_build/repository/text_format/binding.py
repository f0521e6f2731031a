"""The fields of a text, laid into a protobuf message: every value, and the place that each one came from.

The rules are those of protobuf's C++ parser, by which Triton reads; its descriptors are the only schema.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as Proto
from google.protobuf.text_encoding import CUnescape

from modelyard_build.repository.text_format.syntax import Document, Field, Listing, Message, Problem, Scalar, Value

# Names of fields, with the index of an element or the key of a map's entry after the name of what repeats.
Path = tuple[str | int, ...]

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_FLOATS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}
_INTEGER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
_ESCAPES = re.compile(
    r"""(?:[^\\]|\\(?:[abfnrtv\\'"?]|[0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))*"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands.

    Attributes:
        field: the field that states it; the elements of one list share it.
        value: the value itself.
    """

    field: Field
    value: Value


@dataclass
class Bound:
    """A message, and what is known of its text.

    Attributes:
        message: what could be understood.
        places: where each stated value stands. A repeated field has the place of its first statement under its name,
            and the place of each element under the name and the index.
        problems: what the C++ parser would refuse, in the order of the text.
    """

    message: Any
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def bind(document: Document, message: Proto) -> Bound:
    """Lays a document into a message.

    Args:
        document: what was read.
        message: an empty message, which is filled.
    """
    bound = Bound(message)
    _Binder(bound).fields(document.fields, message, ())
    if document.problem is not None:
        bound.problems.append(document.problem)
    bound.problems.sort(key=lambda problem: problem.start)
    return bound


class _Refused(Exception):
    """A value that does not fit its field."""


class _Binder:
    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._places = bound.places

    def fields(self, fields: list[Field], message: Any, path: Path) -> None:
        descriptor = message.DESCRIPTOR
        known = _fields_of(descriptor)
        oneofs: dict[str, str] = {}
        for stated in fields:
            described = known.get(stated.name)
            if described is None:
                self._problem(_unknown(stated.name, descriptor), stated)
                continue
            oneof = described.containing_oneof
            if oneof and (other := oneofs.setdefault(oneof.name, stated.name)) != stated.name:
                self._problem(f"{stated.name} stands beside {other}; only one of them may be there", stated)
                continue
            if described.is_repeated:
                self._repeated(stated, described, message, (*path, stated.name))
            else:
                self._singular(stated, described, message, (*path, stated.name))

    def _singular(self, stated: Field, described: FieldDescriptor, message: Any, path: Path) -> None:
        if path in self._places:
            first = self._places[path].field
            self._problem(f"{stated.name} is stated twice, and only once is allowed", stated, first)
            return
        if isinstance(stated.value, Listing):
            self._problem(f"{stated.name} has one value, not a list: take the square brackets away", stated.value)
            return
        self._places[path] = Place(stated, stated.value)
        if described.message_type:
            if inner := self._message_of(stated, stated.value):
                getattr(message, stated.name).SetInParent()
                self.fields(inner.fields, getattr(message, stated.name), path)
        else:
            self._assign(stated.value, described, lambda value: setattr(message, stated.name, value))

    def _repeated(self, stated: Field, described: FieldDescriptor, message: Any, path: Path) -> None:
        self._places.setdefault(path, Place(stated, stated.value))
        values = stated.value.items if isinstance(stated.value, Listing) else [stated.value]
        target = getattr(message, stated.name)
        for value in values:
            if described.message_type is None:
                place = (*path, len(target))
                if self._assign(value, described, target.append):
                    self._places[place] = Place(stated, value)
            elif inner := self._message_of(stated, value):
                if described.message_type.GetOptions().map_entry:
                    self._entry(stated, inner, described.message_type, target, path)
                else:
                    place = (*path, len(target))
                    self._places[place] = Place(stated, value)
                    self.fields(inner.fields, target.add(), place)

    def _entry(self, stated: Field, inner: Message, entry: Descriptor, target: Any, path: Path) -> None:
        """One entry of a map, written as a message of `key` and `value`."""
        found = {part.name: part for part in inner.fields}
        for part in inner.fields:
            if part.name not in ("key", "value"):
                self._problem(f"an entry of {stated.name} has key and value, and no {part.name!r}", part)
            elif found[part.name] is not part:
                self._problem(f"{part.name} is stated twice, and only once is allowed", part)
        keys: list[Any] = []
        if "key" in found:
            self._assign_part(found["key"], entry.fields_by_name["key"], keys)
        key = keys[0] if keys else entry.fields_by_name["key"].default_value
        place: Path = (*path, key)
        self._places[place] = Place(stated, inner)
        key_place, value_place = (*place, "key"), (*place, "value")
        if "key" in found:
            self._places[key_place] = Place(found["key"], found["key"].value)
        described = entry.fields_by_name["value"]
        value = found.get("value")
        if described.message_type is None:
            values: list[Any] = []
            if value is not None:
                self._assign_part(value, described, values)
                self._places[value_place] = Place(value, value.value)
            target[key] = values[0] if values else described.default_value
        else:
            # A key that is stated again replaces the entry.
            if key in target:
                del target[key]
            filled = target[key]
            message = self._message_of(value, value.value) if value is not None else None
            for known in [
                known for known in self._places if known[: len(place)] == place and len(known) > len(place) + 1
            ]:
                del self._places[known]
            if message is not None:
                self.fields(message.fields, filled, place)

    def _assign_part(self, part: Field, described: FieldDescriptor, into: list[Any]) -> None:
        if isinstance(part.value, Listing):
            self._problem(f"{part.name} has one value, not a list: take the square brackets away", part.value)
        else:
            self._assign(part.value, described, into.append)

    def _message_of(self, stated: Field, value: Value) -> Message | None:
        if isinstance(value, Message):
            return value
        self._problem(f"{stated.name} is a message: write {stated.name} {{ … }}", value)
        return None

    def _assign(self, value: Value, described: FieldDescriptor, assign: Any) -> bool:
        try:
            if not isinstance(value, Scalar):
                raise _Refused(f"{described.name} is {_wanted(described)}, not a message")
            assign(_scalar(value, described))
        except _Refused as refused:
            self._problem(str(refused), value)
            return False
        return True

    def _problem(self, message: str, at: Field | Value, first: Field | None = None) -> None:
        end = at.name_end if isinstance(at, Field) else at.end
        start = at.name_start if isinstance(at, Field) else at.start
        if first is not None:
            message += "; take one of the two away"
        self._bound.problems.append(Problem(message, start, end))


@cache
def _fields_of(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return dict(descriptor.fields_by_name)


def _scalar(value: Scalar, described: FieldDescriptor) -> Any:
    """A value as the field has it.

    Raises:
        _Refused: it does not fit.
    """
    text = value.pieces[0]
    kind = described.cpp_type
    if described.enum_type is not None:
        return _enum(value, described, described.enum_type.values_by_name)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if value.kind != "string":
            raise _Refused(f'{described.name} is a string: write "{text}"')
        return _string(value, described)
    if value.kind == "string":
        raise _Refused(f"{described.name} is {_wanted(described)}, not a string: take the quotes away")
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _bool(value, described)
    if kind in _FLOATS:
        return _float(value, described)
    return _integer(value, described, *_INTEGERS[kind])


def _integer(value: Scalar, described: FieldDescriptor, low: int, high: int) -> int:
    text = value.pieces[0]
    if value.kind != "number" or not _INTEGER.fullmatch(text):
        raise _Refused(f"{described.name} is {_wanted(described)}, not {_written(value)}")
    number = int(text, 16 if text[:2] in ("0x", "0X") else 8 if text[0] == "0" else 10)
    number = -number if value.negative else number
    if not low <= number <= high:
        raise _Refused(f"{described.name} is {_wanted(described)} from {low} to {high}; {_written(value)} is outside")
    return number


def _float(value: Scalar, described: FieldDescriptor) -> float:
    text = value.pieces[0]
    sign = -1.0 if value.negative else 1.0
    if value.kind == "identifier" and text.lower() in ("inf", "infinity", "nan"):
        return sign * float(text)
    if value.kind != "number" or text[:2] in ("0x", "0X") or re.fullmatch(r"0[0-9]+", text):
        raise _Refused(f"{described.name} is {_wanted(described)}, not {_written(value)}")
    return sign * float(text.rstrip("fF"))


def _bool(value: Scalar, described: FieldDescriptor) -> bool:
    text = value.pieces[0]
    if not value.negative:
        if value.kind == "number" and _INTEGER.fullmatch(text) and text.strip("0xX") in ("", "1"):
            return text.endswith("1")
        if text in _BOOLS:
            return _BOOLS[text]
    raise _Refused(f"{described.name} is true or false, not {_written(value)}")


def _enum(value: Scalar, described: FieldDescriptor, names: Mapping[str, Any]) -> int:
    text = value.pieces[0]
    if value.kind == "string":
        raise _Refused(f"{described.name} is one of {_some(names)}, without quotes")
    if value.kind == "number":
        return _integer(value, described, *_INTEGERS[FieldDescriptor.CPPTYPE_INT32])
    if text not in names or value.negative:
        raise _Refused(f"{described.name} has no value {text}.{_close(text, list(names)) or ' It is ' + _some(names)}")
    return int(names[text].number)


def _string(value: Scalar, described: FieldDescriptor) -> str:
    read = b""
    for piece in value.pieces:
        inner = piece[1:-1]
        if not _ESCAPES.fullmatch(inner):
            raise _Refused(f"{described.name} has an escape that is none: write \\\\ for a backslash")
        read += CUnescape(inner.replace("\\?", "?")) if "\\" in inner else inner.encode("utf-8", "surrogateescape")
    try:
        return read.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Refused(f"{described.name} is not UTF-8 at its byte {error.start}") from None


def _wanted(described: FieldDescriptor) -> str:
    if described.enum_type is not None:
        return "a name of a value"
    if described.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return "a string"
    if described.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true or false"
    return "a number" if described.cpp_type in _FLOATS else "a whole number"


def _written(value: Scalar) -> str:
    return ("-" if value.negative else "") + " ".join(value.pieces)


def _some(names: Any) -> str:
    listed = [name for name in names if not name.endswith("INVALID")]
    return ", ".join(listed[:6]) + (", …" if len(listed) > 6 else "")


def _close(name: str, names: list[str]) -> str:
    found = difflib.get_close_matches(name, names, 1, 0.6)
    if not found and (upper := difflib.get_close_matches(f"TYPE_{name.upper()}", names, 1, 0.8)):
        found = upper
    return f" Did you mean {found[0]}?" if found else ""


def _unknown(name: str, descriptor: Descriptor) -> str:
    known = list(_fields_of(descriptor))
    where = "a config" if descriptor.name == "ModelConfig" else descriptor.name
    message = f"{where} has no field {name!r}."
    if close := _close(name, known):
        return message + close
    if elsewhere := _homes(descriptor.file.message_types_by_name["ModelConfig"]).get(name):
        return f"{message} It belongs in {' or '.join(elsewhere[:2])}"
    return f"{message} It has {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"


@cache
def _homes(root: Descriptor) -> dict[str, list[str]]:
    """The paths of the messages that have a field, by the field's name."""
    found: dict[str, list[str]] = {}
    waiting = [(root, "the config itself")]
    seen = set()
    while waiting:
        descriptor, path = waiting.pop(0)
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        for name, described in descriptor.fields_by_name.items():
            found.setdefault(name, []).append(path)
            if described.message_type is not None:
                waiting.append((described.message_type, name if descriptor is root else f"{path}.{name}"))
    return found
