"""`modelyard lint` and `modelyard rule`: paths, settings, exit codes, --fix, pipes, signals."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard_build.repository.lint import run as engine
from modelyard_build.repository.lint.rule import Findings, Rule, Severity, Verdict, rule
from modelyard_build.repository.lint.rules import BY_CODE, RULES
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.splice import Edit
from modelyard_ops.commands.lint import lint
from modelyard_ops.commands.rule import rule as explain
from modelyard_ops.errors import CannotRun
from modelyard_ops.linting import fixing, settings

COMMAND = [sys.executable, "-c", "from modelyard_ops.cli import main; main()"]
GOOD = """\
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }
dynamic_batching { }
instance_group { kind: KIND_CPU count: 1 }
"""
MODEL_PY = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
# What these tests count; other rules may have something to say of so small a model.
COUNTED = "MY101,MY102,MY190,MY191"
COMPOSE = "services:\n  triton:\n    image: nvcr.io/nvidia/tritonserver:26.06-py3\n"


def write_model(folder: Path, text: str = GOOD) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(MODEL_PY)
    (folder / "config.pbtxt").write_text(text)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a sound model and one of a wrong name; the working directory."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model_repository" / "sound")
    write_model(tmp_path / "model_repository" / "wrong", f'name: "other"\n{GOOD}')
    return tmp_path


def linted(*arguments: str) -> tuple[int, list[str]]:
    """Exit code, and code and path of each finding, of a run in this process."""
    output = Path("findings.json")
    code = lint([*arguments, "--select", COUNTED, "--format", "json", "--output", str(output)])
    found = json.loads(output.read_text())["findings"]
    output.unlink()
    return code, [f"{finding['code']} {finding['path']}" for finding in found]


WRONG = "MY102 model_repository/wrong/config.pbtxt"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], [WRONG]),
        (["model_repository"], [WRONG]),
        (["model_repository/"], [WRONG]),
        (["model_repository/sound"], []),
        (["model_repository/wrong"], [WRONG]),
        (["model_repository/wrong/config.pbtxt"], [WRONG]),
        (["./model_repository/../model_repository/wrong"], [WRONG]),
        (["model_repository/sound", "model_repository/wrong/config.pbtxt"], [WRONG]),
        (["model_repository/sound", "model_repository"], [WRONG]),
    ],
)
def test_a_path_is_a_repository_a_model_or_a_config(paths: list[str], expected: list[str], project: Path) -> None:
    """However it is written; without one model_repository/ is meant. The exit code says whether something was found."""
    assert linted(*paths) == (1 if expected else 0, expected)


def test_the_config_of_a_machine_stands_for_its_model(project: Path) -> None:
    """`configs/NAME.pbtxt` is linted with the model that it belongs to."""
    path = project / "model_repository" / "sound" / "configs" / "cpu.pbtxt"
    path.parent.mkdir()
    path.write_text(f'name: "other"\n{GOOD}')
    assert linted(str(path)) == (1, ["MY102 model_repository/sound/configs/cpu.pbtxt"])


def test_the_folder_of_a_model_may_be_the_working_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`modelyard lint .` knows the model's name."""
    monkeypatch.chdir(project / "model_repository" / "wrong")
    assert linted(".") == (1, ["MY102 config.pbtxt"])


def test_names_may_have_spaces_and_be_of_any_script(project: Path) -> None:
    """A path is no list of words."""
    write_model(project / "my models" / "größe 大", f'name: "other"\n{GOOD}')
    assert linted("my models") == (1, ["MY102 my models/größe 大/config.pbtxt"])


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["nowhere"], "nowhere is not there"),
        (["nowhere/config.pbtxt"], "is not there"),
        (["model_repository/sound/1/model.py"], "cannot be linted. Expected a repository"),
        (["empty"], "holds no model"),
        (["other.pbtxt"], "cannot be linted"),
        (["no.yaml"], "this is no YAML"),
        (["latin.yaml"], "is not UTF-8 at its byte 3"),
    ],
)
def test_what_cannot_be_linted_is_no_clean_run(paths: list[str], words: str, project: Path) -> None:
    """A misspelt path must not pass for a sound repository: exit code 2, and what was expected."""
    (project / "empty").mkdir()
    (project / "other.pbtxt").write_text(GOOD)
    (project / "no.yaml").write_text("a: [1\nb: }")
    (project / "latin.yaml").write_bytes(b"a: \xe4\n")
    with pytest.raises(CannotRun, match=words) as raised:
        lint(paths)
    assert raised.value.exit_code == 2


def test_without_a_repository_the_command_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the wrong folder, it names the folder and the ways out."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotRun, match=f"no model_repository/ in {tmp_path}"):
        lint([])


@pytest.mark.parametrize("path", ["docker-compose.yml", "deploy", "deploy/triton.yaml"])
def test_deployment_files_are_linted_alone_or_with_the_repository(path: str, project: Path) -> None:
    """A file, a folder of them, or what stands beside model_repository/; unknown tags do not stop it."""
    (project / "deploy").mkdir()
    for name in ("docker-compose.yml", "deploy/triton.yaml"):
        (project / name).write_text(
            f"{COMPOSE}    command: !reset []\n    # modelyard: ignore[MY102] in the wrong file\n"
        )
    assert linted(path)[1] == [f"MY191 {'deploy/triton.yaml' if 'deploy' in path else path}"]
    assert linted()[1] == ["MY191 deploy/triton.yaml", "MY191 docker-compose.yml", WRONG]


def test_a_file_nobody_named_that_is_no_yaml_is_skipped_aloud(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A template among the deployment files does not keep the repository from being linted."""
    (project / "deploy").mkdir()
    (project / "deploy" / "chart.yaml").write_text("{{ if .Values.gpu }}\na: [\n")
    assert linted() == (1, [WRONG])
    assert "skipped: " in capsys.readouterr().err


def test_a_working_directory_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another terminal removed the folder."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(CannotRun, match="the working directory is gone"):
        lint([])
    monkeypatch.chdir(tmp_path)


# --- settings


def test_a_folder_of_deployments_is_never_taken_for_a_repository(project: Path) -> None:
    """The setting says what it is, however little stands in it."""
    (project / "deploy" / "healthcheck").mkdir(parents=True)
    write_settings(project, 'repositories = ["model_repository"]\ndeployments = ["deploy"]')
    assert linted() == (1, [WRONG])


def write_settings(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.modelyard.lint]\n{text}\n")


def test_settings_are_found_upward_and_the_command_line_goes_first(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder below, too; relative paths are those of the file."""
    write_settings(project, 'ignore = ["MY102"]\nrepositories = ["model_repository"]')
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    (project / "below" / "pyproject.toml").write_text("[tool.other]\nmodelyard = 1\n")
    assert linted() == (0, [])
    write_settings(project, 'select = ["MY101"]\nrepositories = ["model_repository"]')
    assert [line.split()[0] for line in linted()[1]] == ["MY102"]


def test_the_settings_reach_the_rules(project: Path) -> None:
    """Release, machine, budgets and the server's arguments, as the rules see them."""
    write_settings(
        project,
        'target-release = "26.07"\nhardware = "l4:gpus=2,cores=8"\nserver-arguments = ["--a=b"]\n'
        'latency-budget-ms = { "*" = 50, wrong = 7.5 }',
    )
    table = settings.find_table(project)
    made = settings.settings_of(table, None, None)
    assert (made.release.name, made.server_arguments) == ("26.07", ("--a=b",))
    assert made.machine
    assert (made.machine.gpus, made.machine.cores) == (2, 8)
    assert made.latency_budget_ms == {"*": 50.0, "wrong": 7.5}
    assert settings.settings_of(table, "26.06", None).release.name == "26.06"


def test_here_is_this_machine(project: Path) -> None:
    """`--hardware here` asks the machine for its cores."""
    made = settings.settings_of(settings.Table(), None, "here")
    assert made.machine
    assert made.machine.cores == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('hardwear = "cpu"', "has no key 'hardwear'; did you mean hardware?"),
        ("colour = true", "has no key 'colour'; it can have target-release"),
        ("select = 'MY1'", "select is 'MY1'; expected a list of codes"),
        ("latency-budget-ms = { a = -1 }", "expected milliseconds above 0"),
        ("latency-budget-ms = { a = true }", "expected milliseconds above 0"),
        ("target-release = 26.06", "target-release is 26.06; expected a release"),
        ('target-release = "1.2"', "Triton release '1.2' is not in the table"),
        ('hardware = "abacus"', "hardware 'abacus' is not in the table"),
        ('ignore = ["MY9"]', "no rule has the code 'MY9'"),
        ("a = [", "cannot be read"),
        ('repositories = ["elsewhere"]', "elsewhere is not there"),
    ],
)
def test_a_wrong_setting_is_named(text: str, words: str, project: Path) -> None:
    """File, key, what stands there, what was expected; nothing is linted."""
    write_settings(project, text)
    with pytest.raises(CannotRun) as raised:
        lint([])
    assert words in str(raised.value)


def test_a_table_that_is_no_table_is_named(project: Path) -> None:
    """`[tool.modelyard] lint = 1` is told apart from settings."""
    (project / "pyproject.toml").write_text("[tool.modelyard]\nlint = 1\n")
    with pytest.raises(CannotRun, match="expected a table"):
        lint([])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--select", "MY99"], "no rule has the code 'MY99'"),
        (["--ignore", "MY1O2"], "did you mean MY"),
        (["--target-release", "24.01"], "is not in the table"),
        (["--hardware", "cpu:cores=many"], "is not understood"),
    ],
)
def test_a_wrong_option_is_named(option: list[str], words: str, project: Path) -> None:
    """What came, and what there is."""
    with pytest.raises(CannotRun, match=words):
        lint(option)


def test_codes_are_chosen_by_their_beginnings() -> None:
    """`--select MY1 --ignore MY190`; what cannot be parsed is always said, for nothing else can be said of it."""
    chosen = [rule.code for rule in settings.chosen_rules(("MY3",), ("MY301", "MY31"))]
    assert chosen[0] == engine.UNPARSABLE
    assert "MY302" in chosen
    assert not {"MY301", "MY310", "MY102"} & set(chosen)
    assert settings.chosen_rules((), ()) == RULES


def test_a_config_that_cannot_be_parsed_is_never_clean(project: Path) -> None:
    """Whatever is selected: a rule that could not look must not pass for one that found nothing."""
    (project / "model_repository" / "sound" / "config.pbtxt").write_text("nonsense")
    assert lint(["model_repository/sound", "--select", "MY302"]) == 1


# --- --fix


@pytest.fixture
def name_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that takes a wrong name away, and one that its mend uncovers, in the place of all others."""

    @rule("MY102", Severity.ERROR, summary="a name", mend="Leave it out.", verdict=Verdict.REFUSES)
    def name(config: Config) -> Findings:
        """Reason."""
        if place := config.place("name"):
            start, end = place.field.name_start, place.field.end
            yield config.raised("a name", "name", fix=(Edit(start, end, ""),))

    @rule("MY302", Severity.WARNING, summary="a size", mend="Take eight.", verdict=Verdict.LOADS)
    def size(config: Config) -> Findings:
        """Reason."""
        place = config.place("max_batch_size")
        if place and not config.message.name and config.message.max_batch_size != 8:
            yield config.raised("a size", "max_batch_size", fix=(Edit(place.value.start, place.value.end, "8"),))

    monkeypatch.setattr(settings, "RULES", (BY_CODE["MY101"], name, size))


BROKEN = b'# kept \xe4\r\nname: "other" # kept, too\r\nmax_batch_size: 4\r\nbackend: "python"'
MENDED = b'# kept \xe4\r\n # kept, too\r\nmax_batch_size: 8\r\nbackend: "python"'
DIFF = """\
--- a/model_repository/wrong/config.pbtxt
+++ b/model_repository/wrong/config.pbtxt
@@ -1,4 +1,4 @@
 # kept \ufffd\r
-name: "other" # kept, too\r
-max_batch_size: 4\r
+ # kept, too\r
+max_batch_size: 8\r
 backend: "python"
\\ No newline at end of file
"""


@pytest.mark.usefixtures("name_is_mended")
def test_fix_mends_in_rounds_and_keeps_everything_else(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every other byte, the permissions; a mend that uncovers another makes both; a second run changes nothing."""
    path = project / "model_repository" / "wrong" / "config.pbtxt"
    path.write_bytes(BROKEN)
    path.chmod(0o640)
    assert lint(["model_repository/wrong", "--fix"]) == 0
    assert path.read_bytes() == MENDED
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    output = capsys.readouterr().out
    assert output.replace("\r", "") == f"{DIFF}no findings in 1 model (3 rules, Triton 26.06)\n".replace("\r", "")
    before = path.stat().st_mtime_ns
    assert lint(["model_repository/wrong", "--fix"]) == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (MENDED, before)
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []


@pytest.mark.usefixtures("name_is_mended")
def test_diff_shows_the_same_and_writes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --fix would do, for a look before, or for CI; exit code 1 where it would do something."""
    path = project / "model_repository" / "wrong" / "config.pbtxt"
    path.write_bytes(BROKEN)
    assert lint(["model_repository/wrong", "--diff"]) == 1
    assert path.read_bytes() == BROKEN
    shown = capsys.readouterr()
    assert shown.out.replace("\r", "") == DIFF.replace("\r", "")
    assert shown.err == "--fix would mend 2 in 1 file; 0 would be left\n"


@pytest.mark.usefixtures("name_is_mended")
def test_a_link_stays_a_link(project: Path) -> None:
    """A config that several folders share is mended where it stands."""
    path = project / "model_repository" / "wrong" / "config.pbtxt"
    shared = project / "shared.pbtxt"
    shared.write_bytes(BROKEN)
    path.unlink()
    path.symlink_to(shared)
    lint(["model_repository/wrong", "--fix"])
    assert path.is_symlink()
    assert shared.read_bytes() == MENDED


@pytest.mark.usefixtures("name_is_mended")
def test_with_another_format_stdout_holds_one_document(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The diff goes to stderr, where no program stumbles over it."""
    (project / "model_repository" / "wrong" / "config.pbtxt").write_bytes(BROKEN)
    lint(["model_repository/wrong", "--fix", "--format", "json"])
    shown = capsys.readouterr()
    assert json.loads(shown.out)["findings"] == []
    assert "+++ b/model_repository" in shown.err


def test_a_mend_that_breaks_the_file_is_not_made(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule with a wrong mend costs nobody a config."""

    @rule("MY102", Severity.ERROR, summary="a name", mend="Leave it out.", verdict=Verdict.REFUSES)
    def name(config: Config) -> Findings:
        """Reason."""
        yield config.raised("a name", "backend", fix=(Edit(0, 3, "{"),))

    monkeypatch.setattr(settings, "RULES", (BY_CODE["MY101"], name))
    path = project / "model_repository" / "sound" / "config.pbtxt"
    assert lint([str(path), "--fix"]) == 1
    assert path.read_text() == GOOD


def test_two_mends_of_one_place_take_turns() -> None:
    """Of fixes that meet, the first is made; the next round looks at the other again."""
    findings = [
        engine.Finding(BY_CODE["MY102"], "", Path("x"), 1, 1, 1, 2, "", (Edit(start, end, text),))
        for start, end, text in ((0, 2, "A"), (1, 3, "B"), (2, 2, "C"), (4, 5, "D"), (4, 5, "D"))
    ]
    assert fixing.apply("abcdef", findings) == ("AcdDf", 3)


def test_a_file_that_changed_meanwhile_is_left_alone(project: Path) -> None:
    """An editor that saves while lint works does not lose what was written."""
    path = project / "model_repository" / "wrong" / "config.pbtxt"
    path.write_text("new")
    with pytest.raises(CannotRun, match="changed while it was linted"):
        fixing.write(fixing.Mended(before={path: "old"}, after={path: "mended"}))
    assert path.read_text() == "new"


# --- the process


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True, cwd=folder)


def test_from_the_command_line(project: Path) -> None:
    """Findings on stdout and 1; what could not run on stderr and 2."""
    done = run("lint", "--select", COUNTED, folder=project)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[0].startswith("model_repository/wrong/config.pbtxt:1:1: error MY102 ")
    missing = run("lint", "nowhere", folder=project)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("error: ")
    usage = run("lint", "--no-such-option", folder=project)
    assert usage.returncode == 2
    assert "Traceback" not in usage.stderr


def test_a_reader_that_stops_reading_is_no_error(project: Path) -> None:
    """`modelyard lint | head` ends without a traceback, with the exit code of what was found."""
    many = "".join(f"unknown_{number}: 1\n" for number in range(3000))
    (project / "model_repository" / "wrong" / "config.pbtxt").write_text(many)
    done = run_in_bash(f"{' '.join(map(quoted, COMMAND))} lint | head -1; echo ${{PIPESTATUS[0]}}", project)
    assert done.stdout.splitlines()[-1] == "1"
    assert done.stderr == ""


def quoted(word: str) -> str:
    return f"'{word}'"


def run_in_bash(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True, cwd=folder)


def test_ctrl_c_ends_all_processes_in_one_sentence(project: Path) -> None:
    """With several processes at work, too: 130, no traceback, nobody left behind."""
    text = "input { name: 'x' data_type: TYPE_FP32 dims: 1 }\n" * 400
    for number in range(engine.SPLIT_FROM * 4):
        write_model(project / "many" / f"m{number}", text)
    started = subprocess.Popen(
        [*COMMAND, "lint", "many"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    time.sleep(1.0)
    os.killpg(started.pid, signal.SIGINT)
    output, errors = started.communicate(timeout=60)
    assert (started.returncode, output, errors) == (130, "", "interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(started.pid, 0)


def test_a_terminal_of_another_encoding_gets_escapes(project: Path) -> None:
    """Output in ASCII shows what it cannot say, and does not end in an error."""
    (project / "model_repository" / "wrong" / "config.pbtxt").write_bytes(b'name: "\xc3\xa4" #\xff\n')
    command = [*COMMAND, "lint", "model_repository/wrong"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    done = subprocess.run(command, check=False, capture_output=True, cwd=project, env=environment)
    assert done.returncode == 1, done.stderr
    assert rb"\xe4" in done.stdout


def test_neither_frameworks_nor_typer_are_imported(project: Path) -> None:
    """What a hook runs on every commit waits for nothing that it does not need."""
    heavy = {"torch", "onnx", "onnxruntime", "numpy", "grpc", "transformers", "typer", "rich", "pydantic", "yaml"}
    code = (
        "import sys; from modelyard_ops.cli import main; sys.argv = ['modelyard', 'lint', 'model_repository']\n"
        f"try:\n    main()\nfinally:\n    print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=project)
    assert done.stderr == "[]\n"


# --- modelyard rule


@pytest.mark.parametrize("listed", RULES, ids=lambda each: str(each.code))
def test_every_rule_explains_itself(listed: Rule, capsys: pytest.CaptureFixture[str]) -> None:
    """Summary, reason, mend, both examples and what Triton says."""
    assert explain([listed.code.lower()]) == 0
    text = capsys.readouterr().out
    for part in (listed.summary, listed.reason, f"Mend: {listed.mend}", listed.verdict.value[1:], "Bad:", "Good:"):
        assert part in text


def test_all_rules_are_listed_by_topic(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a code, one line each: none is missing."""
    assert explain([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [each.code for each in RULES]
    assert lines[0] == "files and folders"


def test_an_unknown_rule_is_answered_with_one_that_is_meant() -> None:
    """A typing error in a code."""
    with pytest.raises(CannotRun, match="no rule 'MY1O2'; did you mean MY"):
        explain(["MY1O2"])
