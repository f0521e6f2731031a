"""The engine of lint: comments that ignore, what is meant of many models, several processes."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard_build.errors import BuildError
from modelyard_build.repository.lint.rule import Findings
from modelyard_build.repository.lint.rules import BY_CODE, RULES
from modelyard_build.repository.lint.run import SPLIT_FROM, Finding, check, lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Config, Repository

# Refused for its name alone: what is counted here is MY102, and what is said of comments.
CONFIG = 'backend: "identity"\ninput { name: "x" data_type: TYPE_FP32 dims: 1 }\n'
COUNTED = ("MY101", "MY102", "MY190", "MY191")


def write(folder: Path, **configs: str) -> Repository:
    """A repository with a config for each model."""
    for name, text in configs.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(text)
    return Repository(folder, Settings())


def found(repository: Repository, *codes: str, only: tuple[Path, ...] = (), processes: int = 1) -> list[Finding]:
    rules = [rule for rule in RULES if rule.code in (codes or COUNTED)]
    return lint([repository], [], repository.settings, rules, only=only, processes=processes)


def said(findings: list[Finding]) -> list[tuple[str, int]]:
    return [(finding.rule.code, finding.line) for finding in findings]


@pytest.mark.parametrize(
    "text",
    [
        f'name: "other" # modelyard: ignore[MY102] a reason\n{CONFIG}',
        f'# modelyard: ignore[MY102] a reason\nname: "other"\n{CONFIG}',
        f'{CONFIG}  # modelyard: ignore[MY102] a reason\n  # and another comment\nname: "other"\n',
        f'{CONFIG}# modelyard: ignore[MY102] a reason\r\nname: "other"\r\n',
    ],
    ids=["own line", "line above", "comments above", "Windows"],
)
def test_a_comment_with_a_reason_keeps_a_finding_from_being_said(text: str, tmp_path: Path) -> None:
    """On its line, or among the comments right above it."""
    assert said(found(write(tmp_path, m=text))) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{CONFIG}name: "o" # modelyard: ignore[MY102]\n', [("MY190", 3)]),
        (f'{CONFIG}name: "o" # modelyard: ignore[MY103x] why\n', [("MY102", 3), ("MY191", 3)]),
        (f'{CONFIG}name: "o" # modelyard: ignore(MY102) why\n', [("MY102", 3), ("MY191", 3)]),
        (f'{CONFIG}name: "o" # modelyard: ignore[my102] why\n', [("MY102", 3), ("MY191", 3)]),
        (f'{CONFIG}# modelyard: ignore[MY102] why\n\nname: "o"\n', [("MY191", 3), ("MY102", 5)]),
        (f'{CONFIG}# modelyard: ignore[MY102] why\nname: "m"\n', [("MY191", 3)]),
        (f'{CONFIG}# modelyard: ignore[MY998] why\nname: "m"\n', [("MY191", 3)]),
    ],
    ids=["no reason", "not a code", "round brackets", "small letters", "a blank line between", "no finding", "no rule"],
)
def test_a_comment_that_does_not_do_its_work_is_a_finding(
    text: str, expected: list[tuple[str, int]], tmp_path: Path
) -> None:
    """One without a reason, and one without an effect; what it failed to hide is said."""
    assert said(found(write(tmp_path, m=text))) == expected


def test_a_string_is_no_comment(tmp_path: Path) -> None:
    """What stands in a value of the config asks for nothing."""
    text = f'{CONFIG}name: "# modelyard: ignore[MY102] no"\n'
    assert said(found(write(tmp_path, m=text))) == [("MY102", 3)]


def test_a_code_is_judged_only_where_its_rule_was_asked(tmp_path: Path) -> None:
    """With `--select MY1` a comment about another topic is not called needless."""
    text = f"max_batch_size: 8 # modelyard: ignore[MY302] whole batches come\n{CONFIG}"
    assert said(found(write(tmp_path, m=text), "MY191")) == []
    assert said(found(write(tmp_path / "asked", m=text), "MY191", "MY302")) == [("MY191", 1)]


def test_only_the_models_that_are_meant_are_looked_at(tmp_path: Path) -> None:
    """A finding in another model of the repository is not said."""
    repository = write(tmp_path, a=f'name: "x"\n{CONFIG}', b=f'name: "x"\n{CONFIG}')
    assert {finding.path.parent.name for finding in found(repository)} == {"a", "b"}
    assert {finding.path.parent.name for finding in found(repository, only=(tmp_path / "b",))} == {"b"}


def test_a_proposed_text_stands_for_the_file(tmp_path: Path) -> None:
    """What an edit would write is judged before it is written."""
    write(tmp_path, m=CONFIG)
    path = tmp_path / "m" / "config.pbtxt"
    proposed = Repository(tmp_path, Settings(), {path: f'{CONFIG}name: "other"\n'})
    assert said(found(proposed)) == [("MY102", 3)]
    assert path.read_text() == CONFIG


def test_several_processes_find_what_one_finds(tmp_path: Path) -> None:
    """Findings, their rules, their order and what became of comments survive the way between processes."""
    texts = {f"m{number}": CONFIG for number in range(SPLIT_FROM + 10)}
    texts["m7"] = f'{CONFIG}name: "o" # modelyard: ignore[MY102] a reason\n'
    texts["m8"] = f'{CONFIG}name: "o" # modelyard: ignore[MY102]\n'
    texts["m9"] = f'{CONFIG}name: "o"\n'
    texts["m150"] = f"{CONFIG}# modelyard: ignore[MY102] needless\n"
    write(tmp_path, **texts)
    one = found(Repository(tmp_path, Settings()))
    assert said(one) == [("MY191", 3), ("MY190", 3), ("MY102", 3)]
    assert found(Repository(tmp_path, Settings()), processes=3) == one
    every = [rule.code for rule in RULES]
    assert found(Repository(tmp_path, Settings()), *every, processes=3) == found(
        Repository(tmp_path, Settings()), *every
    )


def test_a_process_that_is_killed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, a process vanishes: no hang, no traceback, and no result that lacks its models."""
    repository = write(tmp_path, **{f"m{number}": CONFIG for number in range(SPLIT_FROM)})
    parent = os.getpid()

    def killed(config: Config) -> Findings:
        assert os.getpid() != parent
        os.kill(os.getpid(), signal.SIGKILL)
        return ()

    rules = [replace(BY_CODE["MY102"], check=killed)]
    with pytest.raises(BuildError, match="ended from outside"):
        lint([repository], [], repository.settings, rules, processes=2)


def test_one_subject_can_be_checked_alone(tmp_path: Path) -> None:
    """What an editor asks for: the findings of one config."""
    config = write(tmp_path, m=f'{CONFIG}name: "other"\n').models["m"].config
    assert config is not None
    assert [finding.rule for finding in check(config, [BY_CODE["MY102"]])] == [BY_CODE["MY102"]]
