"""Tokens -> the fields of a text, each with its place. Nothing is known here of what the fields mean."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property

from modelyard_build.repository.text_format.tokens import END, Token, tokens

# Deeper than any config; a limit keeps a hostile file from exhausting the stack.
MAX_DEPTH = 64
_CLOSING = {"{": "}", "<": ">"}
_LONGEST_SAID = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a text, and where.

    Attributes:
        message: what was expected, what was got and what to do, for people.
        start: where, in characters.
        end: the end of what is meant.
    """

    message: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number, a name such as TYPE_FP32 or true, or a string of one or several pieces.

    Attributes:
        kind: "number", "identifier" or "string".
        pieces: the tokens' texts; a string's have their quotes.
        negative: whether a minus stands before it.
        start, end: its place.
    """

    kind: str
    pieces: tuple[str, ...]
    negative: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Message:
    """Fields in braces or angle brackets.

    Attributes:
        fields: in the order of the text.
        start, end: its place, the brackets included.
    """

    fields: list[Field]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Values in square brackets.

    Attributes:
        items: in the order of the text.
        start, end: its place, the brackets included.
    """

    items: list[Scalar | Message]
    start: int
    end: int


Value = Scalar | Message | Listing


@dataclass(frozen=True, slots=True)
class Field:
    """A name and its value.

    Attributes:
        name: as written.
        name_start, name_end: the place of the name.
        value: what follows.
        end: where it ends; a comma or semicolon after it is part of it.
        colon: whether a colon stands before the value.
    """

    name: str
    name_start: int
    name_end: int
    value: Value
    end: int
    colon: bool = True


@dataclass
class Document:
    """A text in protobuf's text format.

    Attributes:
        text: all of it.
        fields: those outside of any message, up to the first problem.
        problem: the first thing that is no text format; None: it is.
    """

    text: str
    fields: list[Field] = field(default_factory=list)
    problem: Problem | None = None

    @cached_property
    def line_starts(self) -> list[int]:
        """Where each line starts, in characters."""
        starts = [0]
        at = self.text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.text.find("\n", at + 1)
        return starts

    def position(self, at: int) -> tuple[int, int]:
        """Line and column of a character, both from 1."""
        line = bisect_right(self.line_starts, at)
        return line, at - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """A line's text, without its end."""
        start = self.line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")


def parse(text: str) -> Document:
    """Reads a text; never raises: what is no text format is the document's `problem`."""
    return _Parser(text).document()


class _SyntaxError(Exception):
    def __init__(self, message: str, token: Token) -> None:
        super().__init__(message)
        self.problem = Problem(message, token.start, token.end)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._token = next(self._tokens)
        self._last_end = 0

    def document(self) -> Document:
        document = Document(self._text)
        try:
            while self._token.kind != END:
                document.fields.append(self._field(1))
        except _SyntaxError as error:
            document.problem = error.problem
        return document

    def _advance(self) -> Token:
        token = self._token
        self._last_end = token.end
        if token.kind != END:
            self._token = next(self._tokens)
        return token

    def _is(self, symbol: str) -> bool:
        return self._token.text == symbol and self._token.kind == "symbol"

    def _field(self, depth: int) -> Field:
        name = self._token
        if name.kind != "identifier":
            raise _SyntaxError(f"a field's name is expected here, not {_said(name)}", name)
        self._advance()
        colon = self._is(":")
        if colon:
            self._advance()
            value: Value = self._listing(depth) if self._is("[") else self._value(depth)
        elif self._token.text in _CLOSING:
            value = self._message(depth)
        elif self._is("["):
            value = self._listing(depth)
            if any(isinstance(item, Scalar) for item in value.items):
                raise _SyntaxError(f"after {clipped(name.text)!r} a ':' is missing; only messages go without", name)
        else:
            raise _SyntaxError(f"after {clipped(name.text)!r} a ':' is expected, not {_said(self._token)}", self._token)
        if self._is(",") or self._is(";"):
            self._advance()
        return Field(name.text, name.start, name.end, value, self._last_end, colon)

    def _value(self, depth: int) -> Scalar | Message:
        return self._message(depth) if self._token.text in _CLOSING else self._scalar()

    def _message(self, depth: int) -> Message:
        opening = self._advance()
        if depth > MAX_DEPTH:
            raise _SyntaxError(f"messages are nested more than {MAX_DEPTH} deep", opening)
        closing = _CLOSING[opening.text]
        fields: list[Field] = []
        while not self._is(closing):
            if self._token.kind == END:
                raise _SyntaxError(f"this {opening.text!r} is never closed: {closing!r} is missing", opening)
            fields.append(self._field(depth + 1))
        self._advance()
        return Message(fields, opening.start, self._last_end)

    def _listing(self, depth: int) -> Listing:
        opening = self._advance()
        items: list[Scalar | Message] = []
        while not self._is("]"):
            if items:
                self._comma(opening)
            items.append(self._value(depth))
        self._advance()
        return Listing(items, opening.start, self._last_end)

    def _comma(self, opening: Token) -> None:
        if self._token.kind == END:
            raise _SyntaxError("this '[' is never closed: ']' is missing", opening)
        if not self._is(","):
            raise _SyntaxError(f"between the values of a list a ',' is expected, not {_said(self._token)}", self._token)
        comma = self._advance()
        if self._is("]"):
            raise _SyntaxError("a list does not end with a ','; take it away", comma)

    def _scalar(self) -> Scalar:
        first = self._token
        negative = self._is("-")
        if negative:
            self._advance()
        token = self._advance()
        if token.kind not in ("number", "identifier", "string") or (negative and token.kind == "string"):
            raise _SyntaxError(f"a value is expected here, not {_said(token)}", token)
        pieces = [token.text]
        while token.kind == "string" and self._token.kind == "string":
            pieces.append(self._advance().text)
        if token.kind == "number" and self._token.before == self._token.start and self._token.kind == "identifier":
            raise _SyntaxError(f"{clipped(token.text + self._token.text)} is neither a number nor a name", self._token)
        return Scalar(token.kind, tuple(pieces), negative, first.start, self._last_end)


def _said(token: Token) -> str:
    if token.kind == END:
        return "the end of the file"
    if token.kind == "unclosed":
        return "a string whose closing quote is missing on its line"
    if token.kind == "symbol" and not token.text.isprintable():
        return f"the character U+{ord(token.text):04X}"
    return clipped(repr(token.text))


def clipped(text: str) -> str:
    """A text for a message; what is longer than anybody reads is cut."""
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…"
