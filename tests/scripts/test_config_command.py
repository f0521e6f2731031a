"""`modelyard config set` and `config diff`: what is written, what is refused, what is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from modelyard_build.repository import versions
from modelyard_ops.commands.config import app
from modelyard_ops.errors import CannotRun, OpsError
from support.triton import IDENTITY

CONFIG = """\
# Ours, call before you touch it.
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } # the text
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }
dynamic_batching {
  max_queue_delay_microseconds: 100 # measured on the 3rd
  default_queue_policy { max_queue_size: 64 }
}
instance_group [ { count: 1, kind: KIND_CPU } ]
parameters { key: "rows", value: { string_value: "5" } }
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python model `m` with a config of comments; no settings of lint are near."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "model_repository"
    (root / "m" / "1").mkdir(parents=True)
    (root / "m" / "1" / "model.py").write_text(IDENTITY)
    (root / "m" / "config.pbtxt").write_text(CONFIG)
    return root


def run(*arguments: str) -> Result:
    """The command in the folder of the repository."""
    return CliRunner().invoke(app, list(arguments))


def text_of(repository: Path) -> str:
    return (repository / "m" / "config.pbtxt").read_bytes().decode()


def refusal(result: Result) -> str:
    """What a refused command says."""
    assert isinstance(result.exception, OpsError), result.output
    assert result.exception.exit_code == 1
    return str(result.exception)


@pytest.mark.parametrize(
    ("assignments", "changes"),
    [
        (["dynamic_batching.max_queue_delay_microseconds=2000"], {"microseconds: 100 #": "microseconds: 2000 #"}),
        (["max_batch_size=4", "instance_group[0].count=2"], {"size: 8": "size: 4", "count: 1,": "count: 2,"}),
        (["input[x].dims=-1,16", "output[y].dims=[-1, 16]"], {"dims: [ -1 ]": "dims: [ -1, 16 ]"}),
        (["parameters[rows]=7"], {'"5"': '"7"'}),
        (
            ["parameters[mode]=fast"],
            {'"5" } }\n': '"5" } }\nparameters { key: "mode", value: { string_value: "fast" } }\n'},
        ),
        (["parameters[rows]="], {'parameters { key: "rows", value: { string_value: "5" } }\n': ""}),
        (["dynamic_batching.default_queue_policy="], {"  default_queue_policy { max_queue_size: 64 }\n": ""}),
        (["instance_group[1]={ count: 3, kind: KIND_CPU }"], {"CPU } ]": "CPU }, { count: 3, kind: KIND_CPU } ]"}),
    ],
)
def test_a_setting_is_changed_in_the_text(repository: Path, assignments: list[str], changes: dict[str, str]) -> None:
    """All of them at once, and nothing else: comments, order and form stay; the diff is shown."""
    expected = CONFIG
    for before, after in changes.items():
        assert before in expected
        expected = expected.replace(before, after)
    result = run("set", "m", *assignments)
    assert result.exit_code == 0, result.exception
    assert text_of(repository) == expected
    changed = [line for line in expected.splitlines() if line not in CONFIG.splitlines()]
    assert all(f"+{line}\n" in result.stdout for line in changed)
    assert "--- a/" in result.stdout


def test_what_stands_there_already_is_not_written(repository: Path) -> None:
    """The file keeps its time, and the command says why."""
    path = repository / "m" / "config.pbtxt"
    before = path.stat().st_mtime_ns
    result = run("set", "m", "max_batch_size=8")
    assert (result.exit_code, path.stat().st_mtime_ns) == (0, before)
    assert "says so already" in result.stdout.replace("\n", " ")


def test_the_config_of_a_machine_is_named(repository: Path) -> None:
    """configs/NAME.pbtxt changes, config.pbtxt does not."""
    named = repository / "m" / "configs" / "l4.pbtxt"
    named.parent.mkdir()
    named.write_text(CONFIG)
    assert run("set", "m", "max_batch_size=4", "--config", "l4").exit_code == 0
    assert text_of(repository) == CONFIG
    assert named.read_text() == CONFIG.replace("size: 8", "size: 4")
    assert "has no configs/h200.pbtxt; it has config.pbtxt, configs/l4.pbtxt" in refusal(
        run("set", "m", "max_batch_size=4", "--config", "h200")
    )


def test_line_ends_permissions_and_bytes_stay(repository: Path) -> None:
    """A file of another system, with a comment in another encoding, behind a link."""
    path = repository / "m" / "config.pbtxt"
    real = repository.parent / "elsewhere.pbtxt"
    content = CONFIG.replace("\n", "\r\n").encode().replace(b"# Ours", b"# \xfcnsere")
    real.write_bytes(content)
    real.chmod(0o640)
    path.unlink()
    path.symlink_to(real)
    assert run("set", "m", "max_batch_size=4", "backend=python").exit_code == 0
    assert real.read_bytes() == content.replace(b"size: 8", b"size: 4")
    assert real.stat().st_mode & 0o777 == 0o640
    assert path.is_symlink()


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        (
            "max_batch_sise=4",
            "a config has no field 'max_batch_sise'. Did you mean max_batch_size? Nothing was written.",
        ),
        ("max_batch_size=four", "max_batch_size is a whole number, not four. Nothing was written."),
        ("max_batch_size", "a '=' and a value are expected"),
        ("max_batch_size 4", "a '=' is expected before ' 4'"),
        ("input.dims=1", "input is a list; write input[x].dims"),
        ("input[z].dims=1", "input has no element 'z'; it has x"),
        ("input[3].dims=1", "input has 1 elements, so [3] is beyond its end"),
        ("max_queue_delay_microseconds=1", "It belongs in dynamic_batching"),
        ("input[x].data_type=FP16", "Did you mean TYPE_FP16?"),
        ("=1", "a field's name is expected"),
    ],
)
def test_an_assignment_that_is_none_is_refused(repository: Path, assignment: str, words: str) -> None:
    """With what there is; an earlier assignment of the same command is not written either."""
    assert words in refusal(run("set", "m", "max_batch_size=2", assignment))
    assert text_of(repository) == CONFIG


def test_what_triton_would_refuse_is_not_written(repository: Path) -> None:
    """The finding of lint, with the line that it would have had."""
    said = refusal(run("set", "m", "name=other"))
    assert "nothing was written" in said
    assert re.search(r"m/config\.pbtxt:12: MY102 name is 'other', the folder is 'm'", said)
    assert text_of(repository) == CONFIG


def test_an_error_that_was_there_stops_nobody(repository: Path) -> None:
    """Whoever mends a config step by step is not held up by what is left."""
    path = repository / "m" / "config.pbtxt"
    path.write_text(f'name: "other"\n{CONFIG}')
    assert run("set", "m", "max_batch_size=4").exit_code == 0
    assert run("set", "m", "name=").exit_code == 0
    assert text_of(repository) == CONFIG.replace("size: 8", "size: 4")


def test_a_new_warning_is_told_and_written(repository: Path) -> None:
    """Triton serves it; the operator decides."""
    result = run("set", "m", "dynamic_batching.preferred_batch_size=[2]")
    assert result.exit_code == 0, result.exception
    assert "preferred_batch_size: [ 2 ]" in text_of(repository)
    assert re.search(r"config\.pbtxt:\d+: MY\d{3} .*preferred_batch_size", result.stdout)
    assert not re.search(r"MY\d{3}", run("set", "m", "parameters[rows]=6").stdout)


def test_a_config_that_cannot_be_read_is_left_alone(repository: Path) -> None:
    """Lint says where; a missing model names those that there are."""
    path = repository / "m" / "config.pbtxt"
    path.write_text("max_batch_size: {")
    assert "`modelyard lint" in refusal(run("set", "m", "max_batch_size=4"))
    assert path.read_text() == "max_batch_size: {"
    assert "has no model 'n'; it has m" in refusal(run("set", "n", "max_batch_size=4"))


def diff_of(repository: Path, *arguments: str) -> tuple[int, Any]:
    result = run("diff", "m", "--json", *arguments)
    return result.exit_code, json.loads(result.stdout)


def test_two_configs_are_compared_by_what_they_say(repository: Path) -> None:
    """The only configs/*.pbtxt is meant; 0 the same, 1 not."""
    named = repository / "m" / "configs" / "l4.pbtxt"
    named.parent.mkdir()
    named.write_text(CONFIG.replace("#", "# other words:"))
    assert diff_of(repository)[0] == 0
    assert "say the same" in run("diff", "m").stdout
    named.write_text(CONFIG.replace("count: 1", "count: 4"))
    code, found = diff_of(repository)
    assert code == 1
    assert found["differences"] == [
        {"field": "instance_group[0].count", "one": {"value": "1", "line": 10}, "other": {"value": "4", "line": 10}}
    ]
    shown = run("diff", "m", "--hardware", "l4")
    assert shown.exit_code == 1
    assert re.search(r"instance_group\[0\]\.count +1 +\(line 10\) +4 +\(line 10\)", shown.stdout)


def test_two_machines_are_compared(repository: Path) -> None:
    """Neither is config.pbtxt then."""
    folder = repository / "m" / "configs"
    folder.mkdir()
    (folder / "a.pbtxt").write_text(CONFIG.replace("size: 8", "size: 4"))
    (folder / "b.pbtxt").write_text(CONFIG.replace("size: 8", "size: 2"))
    code, found = diff_of(repository, "--hardware", "a", "--hardware", "b")
    assert code == 1
    assert [(row["one"]["value"], row["other"]["value"]) for row in found["differences"]] == [("4", "2")]
    result = run("diff", "m")
    assert isinstance(result.exception, CannotRun)
    assert result.exception.exit_code == 2
    assert "has a, b under configs/; name one or two of them with --hardware" in str(result.exception)


def test_the_command_starts_without_frameworks() -> None:
    """Nor with what lint needs: help is there at once."""
    code = (
        "import sys; from modelyard_ops.commands import config; "
        "found = {'torch', 'onnx', 'numpy', 'google.protobuf', 'rich.table'} & sys.modules.keys(); "
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_versions_are_not_touched(repository: Path) -> None:
    """A setting is no new version."""
    run("set", "m", "max_batch_size=4")
    assert versions.versions(repository / "m") == [1]
