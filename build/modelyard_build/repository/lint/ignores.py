"""Comments that ask to say nothing of a finding: `# modelyard: ignore[MY201] the reason`.

One counts for its own line; where comments stand alone, for the next line that is none; before the first field, also
for what is said of the file or of the model's folder as a whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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
    found = [_ignore(document, start) for start in starts if _COMMENT.match(text, start)]
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


def _ignore(document: Document, start: int) -> Ignore:
    text = document.text
    line, _ = document.position(start)
    alone = _is_comment(document.line(line))
    meant = _line_after_comments(document, line) if alone else line
    head = alone and all(_is_comment(before) or not before.strip() for before in text[:start].splitlines())
    found = _IGNORE.match(text, start)
    if not found:
        return Ignore(start, start + len(text[start:].splitlines()[0]), meant, head, (), "")
    codes = tuple(Code(match[0], match.start(), match.end()) for match in _CODE.finditer(text, *found.span("codes")))
    return Ignore(start, found.end(), meant, head, codes, found["reason"].strip())


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _line_after_comments(document: Document, line: int) -> int:
    while line <= len(document.line_starts) and _is_comment(document.line(line)):
        line += 1
    return line
