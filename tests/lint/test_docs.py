"""docs/config.md: what it says is what lint does; the hook that it describes is there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from modelyard_build.repository.lint.rules import RULES
from modelyard_ops.commands.lint import lint
from modelyard_ops.linting import settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "config.md"


@pytest.fixture(scope="module")
def lint_docs() -> ModuleType:
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("lint_docs", ROOT / "scripts" / "lint_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look themselves up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(lint_docs: ModuleType) -> None:
    """`python scripts/lint_docs.py` would change nothing."""
    assert PAGE.read_text(encoding="utf-8") == lint_docs.page()


def test_every_rule_is_linked_and_explained(lint_docs: ModuleType) -> None:
    """Each once in a table and once under a heading that the table's link leads to."""
    text = PAGE.read_text(encoding="utf-8")
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^### (MY\d+ .*)$", text, re.MULTILINE)}
    assert re.findall(r"^\| \[MY\d+\]\(#(.*?)\)", text, re.MULTILINE) == [
        f"{rule.code}-{rule.name}".lower() for rule in RULES
    ]
    assert headings == {f"{rule.code}-{rule.name}".lower() for rule in RULES}


def test_ten_mistakes_are_answered_with_line_and_mend(lint_docs: ModuleType) -> None:
    """Each answer names the file and the line, shows it, and says what to do."""
    text = PAGE.read_text(encoding="utf-8")
    answers = re.findall(r"^### \d+\. [^\n]*\n\n(?:[^\n]+\n\n)?```\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    assert len(answers) == len(lint_docs.MISTAKES) == 10
    for answer in answers:
        assert re.match(r"model_repository/\w+/config\.pbtxt:\d+:\d+: (error|warning) MY\d{3} .+\n +\d+ \| ", answer)
        assert re.search(r"^ +\| +\^+$", answer, re.MULTILINE)
        assert re.search(r"^ += .+\.$", answer, re.MULTILINE)


def test_a_mistake_that_is_no_longer_found_stops_the_page(lint_docs: ModuleType) -> None:
    """The page never shows an answer that lint does not give."""
    made = lint_docs.Mistake("None", lint_docs.ENCODER, "max_batch_size: 32", "max_batch_size: 16", "MY101")
    with pytest.raises(ValueError, match="expected MY101 first, lint found nothing"):
        lint_docs._answer(1, made)


def test_the_settings_that_the_page_shows_are_taken(tmp_path: Path) -> None:
    """Every key of the table, and none that there is not."""
    shown = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "pyproject.toml").write_text("".join(shown))
    table = settings.find_table(tmp_path)
    assert all(getattr(table, key.replace("-", "_")) for key in settings._KEYS)
    settings.settings_of(table, None, None)
    settings.chosen_rules(table.select, table.ignore)


def test_the_hook_takes_the_files_that_lint_takes() -> None:
    """Configs, those of machines, Compose files; nothing that lint would refuse."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert (hook["id"], hook["entry"], hook["language"], hook["require_serial"]) == (
        "modelyard-lint",
        "modelyard lint",
        "python",
        True,
    )
    files = re.compile(hook["files"])
    for path in (
        "config.pbtxt",
        "a b/m/config.pbtxt",
        "r/m/configs/cpu.pbtxt",
        "docker-compose.yml",
        "x/compose.gpu.yaml",
    ):
        assert files.search(path), path
    for path in ("other.pbtxt", "r/myconfig.pbtxt", "r/m/configs/a/b.pbtxt", "values.yaml", "decompose.txt"):
        assert not files.search(path), path


def test_our_own_repository_is_clean(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What we tell others to do: model_repository/, the Compose file and deploy/, with the project's settings."""
    monkeypatch.chdir(ROOT)
    assert lint([]) == 0, capsys.readouterr().out


def test_a_fresh_checkout_is_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is built, as CI and hooks see it."""
    command = ["git", "ls-files", "-z", "--", "model_repository", "deploy", "docker-compose.yml", "pyproject.toml"]
    listed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert lint([]) == 0, capsys.readouterr().out


def test_the_servers_arguments_are_those_of_the_compose_file() -> None:
    """What the project's settings say of the server is what starts it."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    command = set(compose["services"]["triton-cpu"]["command"])
    assert set(settings.find_table(ROOT).server_arguments or ()) <= command
