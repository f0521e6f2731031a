"""How the author of a text writes it: what is added is written the same way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from modelyard_build.repository.text_format.syntax import Document, Field, Listing, Message, Scalar

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Style:
    """A way of writing.

    Attributes:
        newline: what ends a line.
        indent: what a message's fields stand in by.
        quote: around a string.
        opening: of a message, "{" or "<".
        colons: by a field's name whether a colon stands before its message; under "" for any other.
        separators: after a field that another follows: of those on one line, and of those on lines of their own.
        padding: inside the square brackets of a list.
        comma: between its values.
    """

    newline: str = "\n"
    indent: str = "  "
    quote: str = '"'
    opening: str = "{"
    colons: Mapping[str, bool] = field(default_factory=dict)
    separators: tuple[str, str] = (", ", "")
    padding: str = " "
    comma: str = ", "


DEFAULT = Style()


def style_of(document: Document, near: Sequence[Field]) -> Style:
    """The style of a text: of the fields nearby where they tell, else of the rest, else the usual one."""
    text = document.text
    fields = [*_deep(near), *_deep(document.fields)]
    messages = [value for stated in fields for value in _messages(stated)]
    lists = [stated.value for stated in fields if isinstance(stated.value, Listing)]
    return Style(
        "\r\n" if text.count("\r\n") * 2 > text.count("\n") else DEFAULT.newline,
        _first(messages, lambda message: _indent(text, message), DEFAULT.indent),
        _first(fields, _quote, DEFAULT.quote),
        _first(messages, lambda message: text[message.start], DEFAULT.opening),
        _colons(fields),
        (
            _first(messages, lambda message: _separator(text, message.fields, False), DEFAULT.separators[0]),
            _first(
                [near, *(message.fields for message in messages), document.fields],
                lambda beside: _separator(text, beside, True),
                DEFAULT.separators[1],
            ),
        ),
        _first(lists, lambda listing: _padding(text, listing), DEFAULT.padding),
        _first(lists, lambda listing: _comma(text, listing), DEFAULT.comma),
    )


def _first(things: Iterable[object], tell: Callable[..., _Found | None], default: _Found) -> _Found:
    """What the first of them tells that tells anything."""
    return next((told for thing in things if (told := tell(thing)) is not None), default)


def _deep(fields: Iterable[Field]) -> Iterator[Field]:
    for stated in fields:
        yield stated
        for message in _messages(stated):
            yield from _deep(message.fields)


def _messages(stated: Field) -> list[Message]:
    values = stated.value.items if isinstance(stated.value, Listing) else [stated.value]
    return [value for value in values if isinstance(value, Message)]


def _indent(text: str, message: Message) -> str | None:
    """What the first field of a message stands further in than the message's end."""
    if not message.fields:
        return None
    inner, outer = before_on_line(text, message.fields[0].name_start), before_on_line(text, message.end - 1)
    told = inner.isspace() and outer.strip() == "" and inner.startswith(outer) and len(inner) > len(outer)
    return inner[len(outer) :] if told else None


def _colons(fields: Iterable[Field]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for stated in fields:
        if isinstance(stated.value, Message):
            found.setdefault(stated.name, stated.colon)
            found.setdefault("", stated.colon)
    return found


def _quote(stated: Field) -> str | None:
    value = stated.value
    return value.pieces[0][0] if isinstance(value, Scalar) and value.kind == "string" else None


def _separator(text: str, fields: Sequence[Field], on_own_lines: bool) -> str | None:
    for stated, following in itertools.pairwise(fields):
        if ("\n" in text[stated.value.end : following.name_start]) is on_own_lines:
            mark = text[stated.end - 1] if stated.end > stated.value.end else ""
            return mark if on_own_lines else f"{mark} "
    return None


def _padding(text: str, listing: Listing) -> str | None:
    if not listing.items or "\n" in text[listing.start : listing.items[0].start]:
        return None
    return " " if listing.items[0].start > listing.start + 1 else ""


def _comma(text: str, listing: Listing) -> str | None:
    if len(listing.items) < 2 or "\n" in (between := text[listing.items[0].end : listing.items[1].start]):
        return None
    return ", " if between.endswith(" ") else ","


def before_on_line(text: str, at: int) -> str:
    """What stands on a line before a place."""
    return text[text.rfind("\n", 0, at) + 1 : at]
