"""The formats of lint: text for people, and what programs, code hosts and editors read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.rules import BY_CODE
from modelyard_build.repository.lint.run import Finding
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.text_format.splice import Edit
from modelyard_ops.linting.outputs import FORMATS, written
from modelyard_ops.linting.outputs.text import MAX_LINE, excerpt
from modelyard_ops.linting.report import Report

RULE = BY_CODE["MY102"]
WARNING = BY_CODE["MY190"]


def finding(
    source: str = 'name: "o"',
    start: int = 0,
    end: int | None = None,
    *,
    rule: Rule = RULE,
    message: str = "a message",
    path: Path | None = None,
    line: int = 3,
    fix: tuple[Edit, ...] = (),
) -> Finding:
    """A finding about a piece of a line, from 0."""
    last = len(source) if end is None else end
    where = path or Path.cwd() / "repository" / "m" / "config.pbtxt"
    return Finding(rule, message, where, line, start + 1, line, last + 1, source, fix)


def report(*findings: Finding, models: tuple[str, ...] = ("m", "other")) -> Report:
    folders = frozenset(Path.cwd() / "repository" / name for name in models)
    return Report(findings, folders, Settings(), (RULE, WARNING))


def text(*findings: Finding) -> list[str]:
    return written(report(*findings), "text").splitlines()


def test_text_shows_place_message_line_caret_and_mend() -> None:
    """Everything that a person needs, in the form that editors and terminals make links of."""
    assert text(finding('name: "o" # why', 0, 9)) == [
        "repository/m/config.pbtxt:3:1: error MY102 a message",
        '    3 | name: "o" # why',
        "      | ^^^^^^^^^",
        f"      = {RULE.mend}",
        "",
        "1 error in 1 of 2 models; `modelyard rule CODE` explains one",
    ]


@pytest.mark.parametrize(
    ("source", "start", "end", "shown", "before", "width"),
    [
        ("\tname: 1", 1, 5, "    name: 1", 4, 4),
        ('"日本": dims', 6, 10, '"日本": dims', 8, 4),
        ('"日本"', 0, 4, '"日本"', 0, 6),
        ("e\u0301x y", 3, 4, "e\u0301x y", 2, 1),
        ("\x1b[31mred", 5, 8, "␛[31mred", 5, 3),
        ("a\x00b", 2, 3, "a␀b", 2, 1),
        ("a\udcffb", 1, 2, "a\ufffdb", 1, 1),
        ("a\u202eb", 2, 3, "a\ufffdb", 2, 1),
        ("end", 3, 3, "end", 3, 1),
    ],
    ids=["tab", "wide before", "wide", "combining", "escape", "NUL", "not UTF-8", "direction", "end of line"],
)
def test_the_caret_stands_below_what_is_meant(
    source: str, start: int, end: int, shown: str, before: int, width: int
) -> None:
    """Tabs, wide and combining characters; and nothing in a file does anything to the terminal."""
    assert excerpt(finding(source, start, end)) == (shown, before, width)


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    """A config on one line of a megabyte does not fill the terminal."""
    shown, before, width = excerpt(finding("a" * 500_000 + "HERE" + "b" * 500_000, 500_000, 500_004))
    assert len(shown) == MAX_LINE + 2
    assert shown[before : before + width] == "HERE"


def test_a_place_of_several_lines_is_marked_to_the_end_of_the_first() -> None:
    """A message that spans lines has its caret below its first line alone."""
    several = Finding(RULE, "a message", Path("x"), 3, 3, 5, 2, "  input {", ())
    assert excerpt(several) == ("  input {", 2, 7)


def test_colours_only_where_they_are_asked_for() -> None:
    """A pipe gets plain text."""
    assert "\033[" not in written(report(finding()), "text")
    assert "\033[1;31merror\033[0m MY102" in written(report(finding()), "text", colour=True)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], "no findings in 2 models (2 rules, Triton 26.06)"),
        (["m", "m", "other!"], "2 errors, 1 warning in 2 of 2 models; `modelyard rule CODE` explains one"),
        (["elsewhere"], "1 error in 1 other file; `modelyard rule CODE` explains one"),
        (["m", "elsewhere"], "2 errors in 1 of 2 models and 1 other file; `modelyard rule CODE` explains one"),
    ],
    ids=["none", "models", "a file", "both"],
)
def test_the_last_line_sums_up(findings: list[str], expected: str) -> None:
    """How many of which kind, in how many models and files."""
    made = [
        finding(
            rule=WARNING if name.endswith("!") else RULE,
            path=Path.cwd() / "repository" / name.rstrip("!") / "config.pbtxt",
        )
        for name in findings
    ]
    assert written(report(*made), "text").splitlines()[-1] == expected


def test_what_can_be_mended_is_said() -> None:
    """A finding with a fix says so, and the sum counts them."""
    lines = text(finding(fix=(Edit(0, 3, ""),)), finding())
    assert lines[3].endswith(" --fix does it.")
    assert lines[-1] == "2 errors in 1 of 2 models; --fix mends 1; `modelyard rule CODE` explains one"


def broken(folder: Path) -> Finding:
    """A finding with a fix, in a file that stands, of a name that needs quoting."""
    path = folder / "repository" / "ä, 1:2%" / "config.pbtxt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'backend: "x"\r\nname: "o"\r\n')
    return finding(path=path, line=2, message="50 % of it,\nand: more", fix=(Edit(14, 25, "\xe4\udcff"),))


def test_json_has_every_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/config.md says of it; it is valid for parsers that take no lone surrogates."""
    monkeypatch.chdir(tmp_path)
    whole = Finding(WARNING, "of the folder", tmp_path / "repository" / "m", 0, 0, 0, 0, "", ())
    document = json.loads(written(report(broken(tmp_path), whole), "json").encode("utf-8"))
    assert {name: document[name] for name in document if name != "findings"} == {
        "format": 1,
        "target_release": "26.06",
        "hardware": None,
        "models": 2,
        "errors": 1,
        "warnings": 1,
    }
    first, second = document["findings"]
    assert first == {
        "code": "MY102",
        "name": "name-is-not-the-folder",
        "severity": "error",
        "path": "repository/ä, 1:2%/config.pbtxt",
        "line": 2,
        "column": 1,
        "end_line": 2,
        "end_column": 10,
        "message": "50 % of it,\nand: more",
        "mend": RULE.mend,
        "fix": [{"line": 2, "column": 1, "end_line": 3, "end_column": 1, "text": "ä\ufffd"}],
    }
    assert (second["path"], second["line"], second["end_column"]) == ("repository/m", None, None)


def test_github_commands_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma, a colon, a percent sign and a line end in a name or a message end no command early."""
    monkeypatch.chdir(tmp_path)
    assert written(report(broken(tmp_path)), "github") == (
        "::error file=repository/ä%2C 1%3A2%25/config.pbtxt,line=2,endLine=2,col=1,endColumn=9,"
        f"title=MY102 {RULE.summary}::50 %25 of it,%0Aand: more. {RULE.mend}\n"
    )


def test_github_gets_no_columns_of_several_lines() -> None:
    """GitHub takes columns on one line only, and nothing but the file where that is all there is."""
    several = Finding(RULE, "m", Path("x"), 3, 3, 5, 2, "  input {", ())
    whole = Finding(RULE, "m", Path("x"), 0, 0, 0, 0, "", ())
    lines = written(report(several, whole), "github").splitlines()
    assert lines[0].startswith("::error file=x,line=3,endLine=5,title=")
    assert lines[1].startswith("::error file=x,title=")


# What SARIF 2.1.0 allows and requires of the objects that are written: of each its keys, and which may be missing.
SARIF: dict[str, tuple[set[str], set[str]]] = {
    "log": ({"$schema", "version", "runs"}, set()),
    "run": ({"tool", "columnKind", "originalUriBaseIds", "results"}, set()),
    "driver": ({"name", "version", "rules"}, set()),
    "rule": ({"id", "name", "shortDescription", "fullDescription", "help", "defaultConfiguration"}, set()),
    "result": ({"ruleId", "ruleIndex", "level", "message", "locations", "fixes"}, {"fixes"}),
    "region": ({"startLine", "startColumn", "endLine", "endColumn"}, set()),
}


def keys(kind: str, found: dict[str, Any]) -> dict[str, Any]:
    """The object, once its keys are those of its kind."""
    allowed, optional = SARIF[kind]
    assert allowed - optional <= found.keys() <= allowed
    return found


def test_sarif_is_of_version_2_1_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules with their words, places in characters, percent-encoded addresses, fixes: all as the standard has them."""
    monkeypatch.chdir(tmp_path)
    whole = Finding(WARNING, "of the folder", Path("/outside/m"), 0, 0, 0, 0, "", ())
    log = keys("log", json.loads(written(report(broken(tmp_path), whole), "sarif").encode("utf-8")))
    assert log["version"] == "2.1.0"
    (run,) = (keys("run", each) for each in log["runs"])
    assert run["columnKind"] == "unicodeCodePoints"
    rules = [keys("rule", rule) for rule in keys("driver", run["tool"]["driver"])["rules"]]
    assert [(rule["id"], rule["defaultConfiguration"]["level"]) for rule in rules] == [
        ("MY102", "error"),
        ("MY190", "warning"),
    ]
    first, second = (keys("result", result) for result in run["results"])
    assert [rules[result["ruleIndex"]]["id"] for result in (first, second)] == ["MY102", "MY190"]
    where = first["locations"][0]["physicalLocation"]
    assert where["artifactLocation"] == {"uri": "repository/%C3%A4%2C%201%3A2%25/config.pbtxt", "uriBaseId": "SRCROOT"}
    assert keys("region", where["region"]) == {"startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 10}
    assert run["originalUriBaseIds"]["SRCROOT"]["uri"] == f"file://{tmp_path}/"
    (change,) = first["fixes"][0]["artifactChanges"]
    (replaced,) = change["replacements"]
    assert keys("region", replaced["deletedRegion"])["endLine"] == 3
    assert replaced["insertedContent"] == {"text": "ä\ufffd"}
    assert second["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "file:///outside/m"}}}]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_say_nothing(name: str) -> None:
    """A clean repository is no special case."""
    empty = written(report(), name)
    assert not empty or empty.endswith("\n")
