"""What holds for every rule: its code, its words, its pair of examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modelyard_build.repository.lint.examples import FOLDER, example
from modelyard_build.repository.lint.rule import Rule, Verdict
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import Finding
from support import lint_examples

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.code}-{rule.name}")


def place(finding: Finding, folder: Path) -> str:
    """How an example says where a finding is expected."""
    path = finding.path.relative_to(folder).as_posix()
    return f"{path}:{finding.line}" if finding.line else path


@every_rule
def test_the_bad_example_is_found_and_nothing_else(rule: Rule, tmp_path: Path) -> None:
    """The rule's own findings, at the lines that the example names; and no other rule has one."""
    bad = example(rule, "bad")
    lint_examples.write(bad, tmp_path)
    found = lint_examples.findings(bad, tmp_path)
    assert sorted((finding.rule.code, place(finding, tmp_path)) for finding in found) == sorted(
        (rule.code, expected) for expected in bad.settings["expect"]
    )


@every_rule
def test_the_good_example_is_clean(rule: Rule, tmp_path: Path) -> None:
    """No rule finds anything in it."""
    good = example(rule, "good")
    lint_examples.write(good, tmp_path)
    assert [f"{finding.rule.code} {finding.message}" for finding in lint_examples.findings(good, tmp_path)] == []


@every_rule
def test_a_rule_is_worded_for_people(rule: Rule) -> None:
    """A code of its topic, a summary of one line, a reason, and a mend that says what to do."""
    assert re.fullmatch(r"MY[1-7][0-9]{2}", rule.code)
    assert len(rule.summary) <= 80
    assert not rule.summary.endswith(".")
    assert len(rule.reason) >= 40
    assert rule.mend.endswith(".")


@every_rule
def test_the_bad_example_says_what_the_server_does(rule: Rule) -> None:
    """The verdict that stands in the rule is that of its example, which the server is held to."""
    said = {"refuses": Verdict.REFUSES, "loads": Verdict.LOADS, "unseen": Verdict.UNSEEN}
    assert said[example(rule, "bad").setting("server").split(":")[0]] is rule.verdict


def test_codes_are_given_once_and_in_order() -> None:
    """A code in a comment or a settings table means one rule for ever."""
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))


def test_every_example_belongs_to_a_rule() -> None:
    """A renamed rule leaves no example behind."""
    expected = {f"{rule.code}.{kind}.txt" for rule in RULES for kind in ("bad", "good")}
    assert {path.name for path in FOLDER.iterdir()} == expected
