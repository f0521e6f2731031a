"""Comments that ask to say nothing of a finding: `# modelyard: ignore[MY201] the reason`.

One counts for its own line; where comments stand alone, for the next line that is none; before the first field, also
for what is said of the file or of the model's folder as a whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from modelyard_build.repository.lint.rule import Raised
from modelyard_build.repository.text_format.syntax import Document
from modelyard_build.repository.text_format.tokens import tokens

_MARK = "modelyard:"
_COMMENT = re.compile(r"#[ \t]*modelyard:")
_IGNORE = re.compile(r"#[ \t]*modelyard:[ \t]*ignore\[(?P<codes>[A-Z0-9, \t]*)\](?P<reason>[^\n\r]*)")
_CODE = re.compile(r"[A-Z0-9]+")
# Where a comment of YAML begins: not inside a word. One inside a string is taken for a comment, as editors do.
_YAML_COMMENT = re.compile(r"(?:(?<=\s)|^)#[^\n]*", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """A code between the brackets.

    Attributes:
        text: such as "MY201".
        start, end: its place, in characters.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Ignore:
    """One comment.

    Attributes:
        start, end: its place, in characters.
        line: the line of which it is said, from 1: its own, or the one after the comments where it stands alone.
        head: whether it stands before the first field, and so counts for the whole file.
        codes: those between the brackets; none where the comment could not be understood.
        reason: what stands after them.
    """

    start: int
    end: int
    line: int
    head: bool
    codes: tuple[Code, ...]
    reason: str


@dataclass
class Ignores:
    """The comments of one file, and what came of them.

    Attributes:
        path: the file.
        text: all of it.
        comments: in the order of the text.
        used: the places of the codes that kept a finding from being said.
        asked: the codes of the rules that were asked.
        known: the codes of all rules.
    """

    path: Path
    text: str
    comments: list[Ignore]
    used: set[int] = field(default_factory=set)
    asked: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()

    def cover(self, code: str, line: int) -> bool:
        """Whether a finding is not to be said, and remembers what asks for it.

        Args:
            code: of the finding's rule.
            line: where it is; 0: about the whole file.
        """
        asking = [
            listed
            for comment in self.comments
            if (line == comment.line if line else comment.head)
            for listed in comment.codes
            if listed.text == code
        ]
        self.used.update(listed.start for listed in asking)
        return bool(asking)

    def raised(self, message: str, at: Ignore | Code) -> Raised:
        """A finding about a comment or a code in one."""
        return Raised(message, self.path, at.start, at.end)


def ignores(path: Path, document: Document, *, yaml: bool = False) -> Ignores | None:
    """The comments of a file that ask for something; None where there is none.

    Args:
        path: the file.
        document: its text.
        yaml: whether it is YAML; else it is protobuf's text format.
    """
    text = document.text
    if _MARK not in text:
        return None
    starts = [match.start() for match in _YAML_COMMENT.finditer(text)] if yaml else _comments(text)
    lines = _Lines(document)
    found = [_ignore(lines, start) for start in starts if _COMMENT.match(text, start)]
    return Ignores(path, text, found) if found else None


def _comments(text: str) -> list[int]:
    """Where the comments of a text in text format start; a "#" in a string starts none."""
    starts = []
    for token in tokens(text):
        at = text.find("#", token.before, token.start)
        while at >= 0:
            starts.append(at)
            end = text.find("\n", at, token.start)
            at = text.find("#", end, token.start) if end >= 0 else -1
    return starts


class _Lines:
    """The lines of a text, from 1, and which of them are comments."""

    def __init__(self, document: Document) -> None:
        self.document = document
        lines = [""] + [line.lstrip() for line in document.text.split("\n")]
        self.is_comment = [line.startswith("#") for line in lines]
        # Where the first field stands; after the last line where there is none.
        self.first = next((number for number, line in enumerate(lines) if line and line[0] != "#"), len(lines))

    @cached_property
    def after(self) -> list[int]:
        """The next line that is no comment, by line; itself where it is none."""
        found = list(range(len(self.is_comment) + 1))
        for number in range(len(self.is_comment) - 1, 0, -1):
            if self.is_comment[number]:
                found[number] = found[number + 1]
        return found


def _ignore(lines: _Lines, start: int) -> Ignore:
    text = lines.document.text
    line, _ = lines.document.position(start)
    alone = lines.is_comment[line]
    meant = lines.after[line] if alone else line
    head = alone and line < lines.first
    found = _IGNORE.match(text, start)
    if not found:
        end = lines.document.line_starts[line - 1] + len(lines.document.line(line))
        return Ignore(start, end, meant, head, (), "")
    codes = tuple(Code(match[0], match.start(), match.end()) for match in _CODE.finditer(text, *found.span("codes")))
    return Ignore(start, found.end(), meant, head, codes, found["reason"].strip())
