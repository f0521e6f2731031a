"""Findings as GitHub's workflow commands, which become annotations of the changed lines."""

from __future__ import annotations

from modelyard_build.repository.lint.run import Finding
from modelyard_ops.linting.report import Report, said, shown


def written(report: Report, *, colour: bool = False) -> str:
    """One command a line."""
    return "".join(f"{_command(finding)}\n" for finding in report.findings)


def _command(finding: Finding) -> str:
    properties = {"file": shown(finding.path)}
    if finding.line:
        properties |= {"line": str(finding.line), "endLine": str(finding.end_line)}
        if finding.line == finding.end_line:
            # GitHub takes columns only where they are on one line; its last one is inside.
            last = max(finding.end_column - 1, finding.column)
            properties |= {"col": str(finding.column), "endColumn": str(last)}
    properties["title"] = f"{finding.rule.code} {finding.rule.summary}"
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{finding.severity.value} {listed}::{_data(said(finding))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
