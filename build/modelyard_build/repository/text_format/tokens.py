"""Text -> tokens that tile it, in the lexical rules of protobuf's C++ tokenizer, which is what Triton reads with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    r"""[ \t\r\n\v\f]*(?:\#[^\n\0]*[ \t\r\n\v\f]*)*                     # what stands before a token
    (?:(?P<identifier>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>0[xX][0-9a-fA-F]+|0[0-9]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)
    |(?P<string>"[^"\\\n\0]*(?:\\[^\n\0][^"\\\n\0]*)*"|'[^'\\\n\0]*(?:\\[^\n\0][^'\\\n\0]*)*')
    |(?P<unclosed>["'][^\n\0]*)
    |(?P<symbol>.)
    |\Z)""",
    re.VERBOSE | re.DOTALL,
)

END = "end"
_new = tuple.__new__


class Token(NamedTuple):
    """A token and the white space and comments before it.

    Attributes:
        kind: "identifier", "number", "string", "unclosed" (a string without its last quote), "symbol" (any other
            character) or "end".
        text: the token itself; empty at the end.
        before: where the white space and comments before it start, in characters.
        start: where it starts.
        end: where it ends.
    """

    kind: str
    text: str
    before: int
    start: int
    end: int


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text, the last one of kind "end". Each starts where the one before it ended, so none is lost."""
    before = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        end = match.end()
        if kind is None:
            yield Token(END, "", before, end, end)
            return
        piece = match[kind]
        # Not Token(…): what a named tuple makes of its arguments takes as long as the match.
        yield _new(Token, (kind, piece, before, end - len(piece), end))
        before = end
