"""Where in a text a field or a list's value goes in or out, and what goes with it: separator, line, own comment."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard_build.repository.text_format.rendering import Render
from modelyard_build.repository.text_format.splice import Edit
from modelyard_build.repository.text_format.style import Style, before_on_line
from modelyard_build.repository.text_format.syntax import Document, Field, Listing, Message
from modelyard_build.repository.text_format.tokens import tokens

# What follows the last thing on a line: white space, and perhaps a comment.
_REST_OF_LINE = re.compile(r"[ \t\r\v\f]*(#[^\n]*)?(?=\n|\Z)")
_SPACE = " \t\r\v\f"
_WORD = re.compile(r"[A-Za-z0-9_.]")


@dataclass(frozen=True)
class Piece:
    """A field, or a value of a list.

    Attributes:
        start: where it starts.
        value_end: where it ends without its separator.
        end: where it ends with it.
    """

    start: int
    value_end: int
    end: int


@dataclass(frozen=True)
class Box:
    """What pieces stand in: a message, a list or the whole text.

    Attributes:
        pieces: in the order of the text.
        start, end: what is between the brackets.
        is_list: values with commas between them.
        is_text: the whole text, without brackets.
    """

    pieces: Sequence[Piece]
    start: int
    end: int
    is_list: bool = False
    is_text: bool = False


def box_of(document: Document, inside: Message | Listing | None) -> Box:
    """The pieces of a message, of a list, or of the whole text."""
    if inside is None:
        return Box(_fields(document.fields), 0, len(document.text), is_text=True)
    if isinstance(inside, Message):
        return Box(_fields(inside.fields), inside.start + 1, inside.end - 1)
    pieces = [Piece(item.start, item.end, item.end) for item in inside.items]
    for index, (piece, following) in enumerate(itertools.pairwise(pieces)):
        pieces[index] = Piece(piece.start, piece.value_end, _after_comma(document.text, piece.end, following.start))
    return Box(pieces, inside.start + 1, inside.end - 1, is_list=True)


def _fields(fields: Sequence[Field]) -> list[Piece]:
    return [Piece(field.name_start, field.value.end, field.end) for field in fields]


def _after_comma(text: str, start: int, end: int) -> int:
    """Where the comma between two values ends: the first token after the first of them."""
    return start + next(tokens(text[start:end])).end


def removal(text: str, box: Box, index: int) -> list[Edit]:
    """Takes a piece out: with its line where it has it alone, and the comment that trails it there."""
    piece = box.pieces[index]
    edits = []
    if 0 < index == len(box.pieces) - 1 and piece.end == piece.value_end:
        before = box.pieces[index - 1]
        if before.end > before.value_end:
            edits.append(Edit(before.end - 1, before.end, ""))
    start, end = _with_line(text, piece)
    if edits and start < edits[0].end:
        start = edits[0].end
    glued = start > 0 and end < len(text) and _WORD.match(text[start - 1]) and _WORD.match(text[end])
    return [*edits, Edit(start, end, " " if glued else "")]


def _with_line(text: str, piece: Piece) -> tuple[int, int]:
    start, end = piece.start, piece.end
    before = before_on_line(text, start)
    rest = _REST_OF_LINE.match(text, end)
    if not before.strip():
        if rest is None:
            while end < len(text) and text[end] in _SPACE:
                end += 1
            return start, end
        start -= len(before)
        if rest.end() < len(text):
            return start, rest.end() + 1
        # The last line: the one before it is the last one now, and ends as this one did.
        return _before_newline(text, start), rest.end()
    return start - (len(before) - len(before.rstrip(_SPACE))), end


def _before_newline(text: str, line_start: int) -> int:
    at = max(line_start - 1, 0)
    return at - 1 if at and text[at - 1 : at + 1] == "\r\n" else at


def insertion(text: str, box: Box, index: int, render: Render, style: Style, one_line: bool) -> list[Edit]:
    """Puts a piece in before the one that has the index now; at the end where none has.

    Args:
        text: the whole text.
        box: what it goes into.
        index: which one it becomes.
        render: the piece.
        style: of the text around.
        one_line: whether it is to be on one line also where it has its own.
    """
    if not box.pieces:
        return _into_empty(text, box, render, style, one_line)
    if index:
        return _after(text, box, index - 1, render, style, one_line)
    return _before_first(text, box, render, style, one_line)


def _into_empty(text: str, box: Box, render: Render, style: Style, one_line: bool) -> list[Edit]:
    if box.is_text:
        ended = not text or text.endswith("\n")
        shown = render("", one_line)
        return [Edit(len(text), len(text), f"{shown}{style.newline}" if ended else f"{style.newline}{shown}")]
    if "\n" not in text[box.start : box.end]:
        padding = style.padding if box.is_list else " "
        return [Edit(box.start, box.end, f"{padding}{render('', True)}{padding}")]
    outer = before_on_line(text, box.end)
    at = box.end - len(outer)
    inner = outer + style.indent
    return [Edit(at, at, f"{inner}{render(inner, one_line)}{style.newline}")]


def _after(text: str, box: Box, at: int, render: Render, style: Style, one_line: bool) -> list[Edit]:
    piece = box.pieces[at]
    own = text[piece.end - 1] if piece.end > piece.value_end else ""
    last = at == len(box.pieces) - 1
    indent = before_on_line(text, piece.start)
    rest = _REST_OF_LINE.match(text, piece.end)
    has_line = not indent.strip() and rest is not None
    between = "" if own or not last else _separator(text, box, style, has_line)
    if has_line and rest is not None:
        end = rest.end() - (1 if text[rest.end() - 1] == "\r" else 0) if rest.end() > piece.end else rest.end()
        return [
            Edit(piece.value_end, piece.value_end, between),
            Edit(end, end, f"{style.newline}{indent}{render(indent, one_line)}{own}"),
        ]
    return [Edit(piece.end, piece.end, f"{between} {render('', True)}{own}{_glue(text, piece.end)}")]


def _before_first(text: str, box: Box, render: Render, style: Style, one_line: bool) -> list[Edit]:
    piece = box.pieces[0]
    indent = before_on_line(text, piece.start)
    has_line = not indent.strip()
    separator = _separator(text, box, style, has_line)
    if not has_line:
        return [Edit(piece.start, piece.start, f"{render('', True)}{separator} ")]
    at = _above_comments(text, piece.start - len(indent), box.start)
    return [Edit(at, at, f"{indent}{render(indent, one_line)}{separator}{style.newline}")]


def _above_comments(text: str, line_start: int, limit: int) -> int:
    """The start of the comments right above a line: they belong to what is below them."""
    while line_start > limit:
        above = text.rfind("\n", 0, line_start - 1) + 1
        if above < limit or not text[above:line_start].lstrip(_SPACE).startswith("#"):
            break
        line_start = above
    return line_start


def _separator(text: str, box: Box, style: Style, has_line: bool) -> str:
    if box.is_list:
        return ","
    marks = [text[piece.end - 1] if piece.end > piece.value_end else "" for piece in box.pieces[:-1]]
    if marks:
        return marks[-1]
    return style.separators[1] if has_line else style.separators[0].strip()


def _glue(text: str, at: int) -> str:
    """A space where what follows would run into a word before it."""
    return " " if at < len(text) and _WORD.match(text[at]) else ""
