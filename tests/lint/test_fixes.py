"""Every mend that `--fix` makes: it mends, breaks nothing else, and is made once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from modelyard_build.repository.lint.examples import example
from modelyard_build.repository.lint.rule import Rule, Severity
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import Finding, lint
from modelyard_build.repository.lint.subjects import Repository
from modelyard_build.repository.text_format.splice import splice
from modelyard_ops.linting import fixing
from support import lint_examples

COMMENT = "# what somebody wrote: é\r\n"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.code}-{rule.name}")
def test_a_mend_leaves_nothing_to_mend(rule: Rule, tmp_path: Path) -> None:
    """Of the bad example of a rule that has a mend: no such finding is left, and no error is new."""
    bad = example(rule, "bad")
    lint_examples.write(bad, tmp_path)
    paths = [path for path in tmp_path.rglob("*.pbtxt") if path.is_file()]
    for path in paths:
        path.write_bytes(COMMENT.encode() + path.read_bytes() + COMMENT.encode())
    settings = lint_examples.settings_of(bad)

    def found(proposed: Mapping[Path, str]) -> list[Finding]:
        return lint([Repository(tmp_path, settings, proposed)], [], settings, RULES)

    before = found({})
    mended = fixing.mend(found)
    assert mended.count >= sum(bool(finding.fix) for finding in before)
    fixed = {finding.rule.code for finding in before if finding.fix}
    errors = {finding.message for finding in before if finding.severity is Severity.ERROR and not finding.fix}
    assert not fixed & {finding.rule.code for finding in mended.left}
    assert {finding.message for finding in mended.left if finding.severity is Severity.ERROR} <= errors
    assert not any(finding.fix for finding in mended.left)
    assert all(text.startswith(COMMENT) and text.endswith(COMMENT) for text in mended.after.values())
    assert bool(mended.after) == bool(mended.count)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.code}-{rule.name}")
def test_a_rule_that_promises_a_mend_has_one(rule: Rule, tmp_path: Path) -> None:
    """Where the words say that `--fix` does it, each finding of the bad example carries edits that can be made."""
    bad = example(rule, "bad")
    lint_examples.write(bad, tmp_path)
    for finding in lint_examples.findings(bad, tmp_path):
        if "--fix" in rule.mend:
            assert finding.fix
        if finding.fix:
            splice(finding.path.read_text(encoding="utf-8"), finding.fix)
