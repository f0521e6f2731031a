"""Numbers, words and strings as protobuf's C++ parser takes them for a field, or refuses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from modelyard_build.repository.text_format.names import nearest
from modelyard_build.repository.text_format.strings import unescaped
from modelyard_build.repository.text_format.syntax import Scalar, Value, clipped

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_FLOATS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}
_INTEGER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
# More digits than any field holds; Python refuses to convert thousands of them.
_MOST_DIGITS = 20


class Refused(Exception):
    """A value that does not fit its field."""


def scalar(value: Value, described: FieldDescriptor) -> Any:
    """A value as the field has it.

    Raises:
        Refused: it does not fit.
        UnicodeDecodeError: a string's bytes are no text.
    """
    if not isinstance(value, Scalar):
        raise Refused(f"{described.name} is {_wanted(described)}, not a message")
    text = value.pieces[0]
    kind = described.cpp_type
    if described.enum_type is not None:
        return _enum(value, described, described.enum_type.values_by_name)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if value.kind != "string":
            raise Refused(f'{described.name} is a string: write "{clipped(text)}"')
        return _string(value, described)
    if value.kind == "string":
        raise Refused(f"{described.name} is {_wanted(described)}, not a string: take the quotes away")
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _bool(value, described)
    if kind in _FLOATS:
        return _float(value, described)
    return _integer(value, described, *_INTEGERS[kind])


def _integer(value: Scalar, described: FieldDescriptor, low: int, high: int) -> int:
    text = value.pieces[0]
    if value.kind != "number" or not _INTEGER.fullmatch(text):
        raise Refused(f"{described.name} is {_wanted(described)}, not {_written(value)}")
    if value.negative and low == 0:
        raise Refused(f"{described.name} is {_wanted(described)} without a minus, not {_written(value)}")
    number = _number(text)
    if number is None or not low <= (number := -number if value.negative else number) <= high:
        raise Refused(f"{described.name} is {_wanted(described)} from {low} to {high}; {_written(value)} is outside")
    return number


def _number(text: str) -> int | None:
    """Decimal, hexadecimal or octal; None where no field could hold it."""
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if text[0] == "0":
        return int(text, 8)
    return int(text) if len(text) <= _MOST_DIGITS else None


def _float(value: Scalar, described: FieldDescriptor) -> float:
    text = value.pieces[0]
    sign = -1.0 if value.negative else 1.0
    if value.kind == "identifier" and text.lower() in ("inf", "infinity", "nan"):
        return sign * float(text)
    if value.kind != "number" or text[:2] in ("0x", "0X") or re.fullmatch(r"0[0-9]+", text):
        raise Refused(f"{described.name} is {_wanted(described)}, not {_written(value)}")
    return sign * float(text.rstrip("fF"))


def _bool(value: Scalar, described: FieldDescriptor) -> bool:
    text = value.pieces[0]
    if not value.negative:
        if value.kind == "number" and _INTEGER.fullmatch(text) and (number := _number(text)) in (0, 1):
            return number == 1
        if value.kind == "identifier" and text in _BOOLS:
            return _BOOLS[text]
    raise Refused(f"{described.name} is true or false, not {_written(value)}")


def _enum(value: Scalar, described: FieldDescriptor, names: Mapping[str, Any]) -> int:
    text = value.pieces[0]
    if value.kind == "string":
        raise Refused(f"{described.name} is one of {_some(names)}, without quotes")
    if value.kind == "number":
        return _integer(value, described, *_INTEGERS[FieldDescriptor.CPPTYPE_INT32])
    if value.negative or text not in names:
        close = nearest(text, list(names)) or f" It is {_some(names)}"
        raise Refused(f"{described.name} has no value {_written(value)}.{close}")
    return int(names[text].number)


def _string(value: Scalar, described: FieldDescriptor) -> str:
    """The string of all its pieces.

    Raises:
        Refused: an escape is none.
        UnicodeDecodeError: the bytes are no text.
    """
    read = [unescaped(piece[1:-1]) for piece in value.pieces]
    if any(piece is None for piece in read):
        raise Refused(f"{described.name} has an escape that is none: write \\\\ for a backslash")
    return b"".join(piece for piece in read if piece is not None).decode("utf-8")


def _wanted(described: FieldDescriptor) -> str:
    if described.enum_type is not None:
        return "a name of a value"
    if described.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return "a string"
    if described.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true or false"
    return "a number" if described.cpp_type in _FLOATS else "a whole number"


def _written(value: Scalar) -> str:
    return clipped(("-" if value.negative else "") + " ".join(value.pieces))


def _some(names: Any) -> str:
    listed = [name for name in names if not name.endswith("INVALID")]
    return ", ".join(listed[:6]) + (", …" if len(listed) > 6 else "")
