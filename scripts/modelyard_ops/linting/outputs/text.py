"""Findings for people: the line, what is meant in it, what is wrong and how it is mended."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import groupby

from modelyard_build.repository.lint.rule import Severity
from modelyard_build.repository.lint.run import Finding
from modelyard_ops.linting.report import Report, shown

# Of a longer line the part around what is meant is shown.
MAX_LINE = 200
_TAB = "    "
_COLOURS = {"error": "\033[1;31m", "warning": "\033[1;33m", "bold": "\033[1m", "dim": "\033[2m"}
_RESET = "\033[0m"


def written(report: Report, *, colour: bool = False) -> str:
    """The findings, file by file, and a line that sums up."""
    parts = [
        "".join(_finding(finding, colour) for finding in findings)
        for _, findings in groupby(report.findings, lambda finding: finding.path)
    ]
    return "\n".join([*parts, f"{summary(report)}\n"])


def summary(report: Report) -> str:
    """How many findings of which kind, and where."""
    models = f"{len(report.models)} model{_s(len(report.models))}"
    if not report.findings:
        machine = report.settings.machine
        against = f"Triton {report.settings.release.name}" + (f" on {machine.name}" if machine else "")
        return f"no findings in {models} ({len(report.rules)} rules, {against})"
    counts = ((severity.value, report.count(severity)) for severity in Severity)
    said = ", ".join(f"{count} {name}{_s(count)}" for name, count in counts if count)
    inside = sum(place in set(report.models) for place in report.places)
    beside = len(report.places) - inside
    files = f"{beside} other file{_s(beside)}" if beside else ""
    where = " and ".join(filter(None, [f"{inside} of {models}" if inside or not beside else "", files]))
    fixable = sum(bool(finding.fix) for finding in report.findings)
    mends = f"; --fix mends {fixable}" if fixable else ""
    return f"{said} in {where}{mends}; `modelyard rule CODE` explains one"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _finding(finding: Finding, colour: bool) -> str:
    severity = finding.severity.value
    place = shown(finding.path) + (f":{finding.line}:{finding.column}" if finding.line else "")
    head = (
        f"{_painted(_visible(place), 'bold', colour)}: "
        f"{_painted(severity, severity, colour)} {finding.rule.code} {_visible(finding.message)}\n"
    )
    mend = finding.rule.mend + (" --fix does it." if finding.fix and "--fix" not in finding.rule.mend else "")
    return head + "".join(_source(finding, colour)) + f"      {_painted('=', 'dim', colour)} {mend}\n"


def _painted(text: str, name: str, colour: bool) -> str:
    return f"{_COLOURS[name]}{text}{_RESET}" if colour else text


def _source(finding: Finding, colour: bool) -> Iterator[str]:
    """The line, and carets below what is meant."""
    if not finding.line or not finding.source:
        return
    line, before, width = excerpt(finding)
    bar = _painted("|", "dim", colour)
    yield f"{finding.line:5} {bar} {line}\n"
    yield f"      {bar} {' ' * before}{_painted('^' * width, finding.severity.value, colour)}\n"


def excerpt(finding: Finding) -> tuple[str, int, int]:
    """The line as it is shown, how wide what stands before the place is, and how wide the place."""
    source = finding.source
    start = min(finding.column - 1, len(source))
    end = finding.end_column - 1 if finding.end_line == finding.line else len(source)
    first = 0
    if len(source) > MAX_LINE:
        first = max(0, min(start - MAX_LINE // 4, len(source) - MAX_LINE))
        source = source[first : first + MAX_LINE]
        start, end = start - first, min(end - first, MAX_LINE)
        source = ("…" if first else "") + source + "…"
        start, end = (start + 1, end + 1) if first else (start, end)
    before = _width(source[:start])
    return _visible(source), before, max(_width(source[start:end]), 1)


def _visible(text: str) -> str:
    """A text that does nothing to the terminal: control characters become pictures, a tab some spaces."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_cell, text))


def _cell(character: str) -> str:
    if character == "\t":
        return _TAB
    if character < " ":
        return chr(0x2400 + ord(character))
    category = unicodedata.category(character)
    # Control, formatting (direction!), surrogates (bytes that are no UTF-8), line separators.
    return "\ufffd" if category in ("Cc", "Cf", "Cs", "Zl", "Zp") else character


def _width(text: str) -> int:
    """How many columns of a terminal a text takes once it is visible."""
    if text.isascii() and text.isprintable():
        return len(text)
    return sum(map(_columns, _visible(text)))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
