"""What a run of the linter came to, for the outputs to show."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modelyard_build.repository.lint.rule import Rule, Severity
from modelyard_build.repository.lint.run import Finding
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.text_format.syntax import Document

UNREADABLE = "\N{REPLACEMENT CHARACTER}"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Replacement:
    """A piece of a file that a fix replaces, with its place as people count.

    Attributes:
        line, column: where it starts, from 1.
        end_line, end_column: where it ends; the column is the one after the last.
        text: what comes in its place.
    """

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True)
class Report:
    """A run of the linter.

    Attributes:
        findings: by file and line.
        models: the folders of those that were looked at.
        settings: what they were held against.
        rules: those that were asked.
    """

    findings: tuple[Finding, ...]
    models: Collection[Path]
    settings: Settings
    rules: tuple[Rule, ...]

    def count(self, severity: Severity) -> int:
        """How many findings are so bad."""
        return sum(finding.severity is severity for finding in self.findings)

    @cached_property
    def places(self) -> set[Path]:
        """The models that something was found in, and the other files."""
        models = set(self.models)
        return {
            next((path for path in (finding.path, *finding.path.parents) if path in models), finding.path)
            for finding in self.findings
        }


def replacements(finding: Finding) -> list[Replacement]:
    """The edits of a finding's fix, as people count; none where the file cannot be read any more."""
    if not finding.fix:
        return []
    try:
        document = Document(finding.path.read_bytes().decode("utf-8", "surrogateescape"))
    except OSError:
        return []
    return [
        Replacement(*document.position(edit.start), *document.position(edit.end), readable(edit.text))
        for edit in finding.fix
    ]


def shown(path: Path) -> str:
    """A path as people want to read it: from here where it is below, else the whole."""
    here = Path.cwd()
    text = readable(str(path.relative_to(here) if here in path.parents or here == path else path))
    return re.sub(r"[\r\n]", UNREADABLE, text)


def readable(text: str) -> str:
    """A text with U+FFFD for what is not to be printed.

    Bytes that are not UTF-8 (what reads our output takes no lone surrogates), and characters that a terminal obeys.
    """
    if not text.isascii():
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _CONTROL.sub(UNREADABLE, text)


def said(finding: Finding) -> str:
    """What is wrong and what to do, in sentences."""
    message = readable(finding.message)
    return f"{message}{'' if message.endswith(('.', '?', '!')) else '.'} {finding.rule.mend}"
