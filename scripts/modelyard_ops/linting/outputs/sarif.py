"""Findings as SARIF 2.1.0, which code hosts and editors read."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.run import Finding
from modelyard_ops.linting.report import Report, replacements, said

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# What paths are relative to: the folder that the command ran in.
ROOT = "SRCROOT"


def written(report: Report, *, colour: bool = False) -> str:
    """The log file, of one run."""
    driver = {
        "name": "modelyard lint",
        "version": version("modelyard"),
        "rules": [_rule(rule) for rule in report.rules],
    }
    index = {rule.code: number for number, rule in enumerate(report.rules)}
    run = {
        "tool": {"driver": driver},
        # Ours are characters; the default would be UTF-16.
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"uri": _uri(Path.cwd(), folder=True)}},
        "results": [_result(finding, index[finding.rule.code]) for finding in report.findings],
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.reason.partition("\n\n")[0]},
        "help": {"text": f"{rule.reason}\n\n{rule.mend}", "markdown": f"{rule.reason}\n\n**Mend:** {rule.mend}"},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": _artifact(finding.path)}
    if finding.line:
        location["region"] = _region(finding)
    result: dict[str, Any] = {
        "ruleId": finding.rule.code,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": said(finding)},
        "locations": [{"physicalLocation": location}],
    }
    if changes := replacements(finding):
        change = {
            "artifactLocation": _artifact(finding.path),
            "replacements": [
                {"deletedRegion": _region(replaced), "insertedContent": {"text": replaced.text}} for replaced in changes
            ],
        }
        result["fixes"] = [{"description": {"text": finding.rule.mend}, "artifactChanges": [change]}]
    return result


def _region(place: Any) -> dict[str, int]:
    return {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
    }


def _artifact(path: Path) -> dict[str, str]:
    here = Path.cwd()
    if here in path.parents:
        return {"uri": quote(os.fsencode(path.relative_to(here))), "uriBaseId": ROOT}
    return {"uri": _uri(path)}


def _uri(path: Path, *, folder: bool = False) -> str:
    return f"file://{quote(os.fsencode(path))}{'/' if folder else ''}"
