"""Values of a message -> text in a style."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from modelyard_build.repository.text_format.strings import quoted
from modelyard_build.repository.text_format.style import Style
from modelyard_build.repository.text_format.syntax import Scalar

# Text that knows where it stands: the indentation of its line, and whether it has to stay on it.
Render = Callable[[str, bool], str]

_CLOSING = {"{": "}", "<": ">"}
_OTHERWISE = {"true": "false", "false": "true", "True": "False", "False": "True", "t": "f", "f": "t"}
_LONGEST_LINE = 100
_TRUE = ("true", "True", "t")


def scalar(described: FieldDescriptor, value: Any, style: Style, like: Scalar | None = None) -> str:
    """A number, a word or a string.

    Args:
        described: the field.
        value: what it is to be.
        style: of the text around.
        like: what stands there now: its own form is kept, such as the number of an enum.
    """
    if described.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return quoted(value, like.pieces[0][0] if like is not None else style.quote)
    if described.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _bool(value, like)
    if described.enum_type is not None:
        named = described.enum_type.values_by_number.get(value)
        return str(value) if named is None or (like is not None and like.kind == "number") else named.name
    if described.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return _float(value, described.cpp_type == FieldDescriptor.CPPTYPE_FLOAT)
    return str(value)


def _bool(value: bool, like: Scalar | None) -> str:
    if like is None:
        return "true" if value else "false"
    if like.kind == "number":
        return "1" if value else "0"
    word = like.pieces[0]
    return word if (word in _TRUE) is value else _OTHERWISE[word]


def _float(value: float, single: bool) -> str:
    """As short as it can be and still be the same number."""
    if math.isnan(value) or math.isinf(value):
        return str(value)
    if single:
        for digits in range(6, 10):
            text = f"{value:.{digits}g}"
            if struct.pack("f", float(text)) == struct.pack("f", value):
                return text
    return repr(value)


def value(described: FieldDescriptor, stated: Any, style: Style) -> Render:
    """One value of a field: a scalar, or a message in brackets with the fields that it has."""
    if described.message_type is None:
        shown = scalar(described, stated, style)
        return lambda indent, one_line: shown
    return in_brackets([part for inner, what in stated.ListFields() for part in _statements(inner, what, style)], style)


def _statements(described: FieldDescriptor, stated: Any, style: Style) -> list[Render]:
    if not described.is_repeated:
        return [statement(described, value(described, stated, style), style)]
    if described.message_type is None:
        return [statement(described, listing([scalar(described, item, style) for item in stated], style), style)]
    if described.message_type.GetOptions().map_entry:
        part = described.message_type.fields_by_name["value"]
        entries = [entry(described, key, value(part, stated[key], style), style) for key in sorted(stated)]
        return [statement(described, inner, style) for inner in entries]
    return [statement(described, value(described, item, style), style) for item in stated]


def statement(described: FieldDescriptor, inner: Render, style: Style) -> Render:
    """A field with its value."""
    has_colon = described.message_type is None or style.colons.get(described.name, style.colons.get("", False))
    colon = ":" if has_colon else ""
    return lambda indent, one_line: f"{described.name}{colon} {inner(indent, one_line)}"


def listing(values: Sequence[str], style: Style) -> Render:
    """Scalars in square brackets."""
    shown = f"[{style.padding}{style.comma.join(values)}{style.padding}]"
    return lambda indent, one_line: shown


def entry(described: FieldDescriptor, key: Any, inner: Render, style: Style) -> Render:
    """The message that one entry of a map is, on one line where it fits there."""
    assert described.message_type is not None  # noqa: S101  # a map is one
    parts = described.message_type.fields_by_name
    stated = [statement(parts["key"], value(parts["key"], key, style), style), statement(parts["value"], inner, style)]
    whole = in_brackets(stated, style)

    def render(indent: str, one_line: bool) -> str:
        shown = whole(indent, True)
        return shown if one_line or len(indent + shown) <= _LONGEST_LINE else whole(indent, False)

    return render


def in_brackets(parts: Sequence[Render], style: Style) -> Render:
    """Fields in a message's brackets."""
    opening, closing = style.opening, _CLOSING[style.opening]

    def render(indent: str, one_line: bool) -> str:
        if not parts:
            return f"{opening} {closing}"
        if one_line:
            return f"{opening} {style.separators[0].join(part(indent, True) for part in parts)} {closing}"
        deeper = indent + style.indent
        lines = f"{style.separators[1]}{style.newline}".join(deeper + part(deeper, False) for part in parts)
        return f"{opening}{style.newline}{lines}{style.newline}{indent}{closing}"

    return render
