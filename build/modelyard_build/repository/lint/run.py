"""Holds repositories and deployment files against the rules."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard_build.repository.lint.rule import Edit, Raised, Rule, Severity
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Config, Deployment, Repository, subjects
from modelyard_build.repository.text_format.syntax import Document

# What tells of a config that cannot be parsed looks at each; every other rule at valid ones alone.
UNPARSABLE = "MY101"
_IGNORED = re.compile(r"#\s*modelyard:\s*ignore\[([A-Z0-9,\s]+)\]")


@dataclass(frozen=True)
class Finding:
    """A rule's finding, with its place as people count.

    Attributes:
        rule: what was broken.
        message: what is there, what is expected, and the next step.
        path: the file or folder.
        line, column: where it starts, from 1; 0 where it is about the whole file or folder.
        end_line, end_column: where it ends; the column is the one after the last.
        source: the line's text.
        fix: the edits that mend it, where there is one safe mend.
    """

    rule: Rule
    message: str
    path: Path
    line: int
    column: int
    end_line: int
    end_column: int
    source: str
    fix: tuple[Edit, ...]

    @property
    def severity(self) -> Severity:
        """The rule's."""
        return self.rule.severity


def lint(
    repositories: Sequence[Repository], deployments: Sequence[Deployment], settings: Settings, rules: Collection[Rule]
) -> list[Finding]:
    """Everything the rules find, by file and line.

    Args:
        repositories: those that one server is given together.
        deployments: the files that say how it is started.
        settings: what all of it is held against.
        rules: those that are asked.
    """
    found: list[Finding] = []
    for subject in (*subjects(list(repositories), settings), *deployments):
        found += check(subject, rules)
    return sorted(found, key=lambda finding: (finding.path, finding.line, finding.column, finding.rule.code))


def check(subject: object, rules: Iterable[Rule] = RULES) -> list[Finding]:
    """What the rules about a kind of subject find in one."""
    asked = [rule for rule in rules if isinstance(subject, rule.subject)]
    if isinstance(subject, Config):
        if not subject.is_valid:
            asked = [rule for rule in asked if rule.code == UNPARSABLE]
        document = subject.document
        found = [placed(rule, raised, document) for rule in asked for raised in rule.check(subject)]
        return [finding for finding in found if not _is_ignored(finding, document)]
    if isinstance(subject, Deployment):
        document = Document(subject.text)
        found = [placed(rule, raised, document) for rule in asked for raised in rule.check(subject)]
        return [finding for finding in found if not _is_ignored(finding, document)]
    return [placed(rule, raised, Document("")) for rule in asked for raised in rule.check(subject)]


def placed(rule: Rule, raised: Raised, document: Document) -> Finding:
    """A finding with lines and columns."""
    if not raised.end:
        return Finding(rule, raised.message, raised.path, 0, 0, 0, 0, "", raised.fix)
    line, column = document.position(raised.start)
    end_line, end_column = document.position(raised.end)
    return Finding(
        rule, raised.message, raised.path, line, column, end_line, end_column, document.line(line), raised.fix
    )


def _is_ignored(finding: Finding, document: Document) -> bool:
    """Whether a comment on its line, or alone on the line above, asks to say nothing of it."""
    if not finding.line:
        return any(finding.rule.code in codes for codes in _head_codes(document))
    if finding.rule.code in _codes(finding.source):
        return True
    above = document.line(finding.line - 1).strip() if finding.line > 1 else ""
    return above.startswith("#") and finding.rule.code in _codes(above)


def _codes(line: str) -> list[str]:
    found = _IGNORED.search(line)
    return [code.strip() for code in found[1].split(",")] if found else []


def _head_codes(document: Document) -> list[list[str]]:
    """What the comments before the first field ignore: a finding about the whole file has no line of its own."""
    head = []
    for line in document.text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            break
        head.append(_codes(line))
    return head
