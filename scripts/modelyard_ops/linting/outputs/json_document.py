"""Findings for programs: one JSON document, described in docs/config.md."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from modelyard_build.repository.lint.rule import Severity
from modelyard_build.repository.lint.run import Finding
from modelyard_ops.linting.report import Report, readable, replacements, shown

# Counts up where a field changes its meaning or goes.
FORMAT_VERSION = 1


def written(report: Report, *, colour: bool = False) -> str:
    """The document."""
    machine = report.settings.machine
    document = {
        "format": FORMAT_VERSION,
        "target_release": report.settings.release.name,
        "hardware": machine.name if machine else None,
        "models": len(report.models),
        "errors": report.count(Severity.ERROR),
        "warnings": report.count(Severity.WARNING),
        "findings": [_finding(finding) for finding in report.findings],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _finding(finding: Finding) -> dict[str, Any]:
    placed = {name: getattr(finding, name) or None for name in ("line", "column", "end_line", "end_column")}
    return {
        "code": finding.rule.code,
        "name": finding.rule.name,
        "severity": finding.severity.value,
        "path": shown(finding.path),
        **placed,
        "message": readable(finding.message),
        "mend": finding.rule.mend,
        "fix": [asdict(replacement) for replacement in replacements(finding)],
    }
