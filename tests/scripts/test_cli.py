"""The command line: every verb explains itself, a mistake is one sentence, an exit code says how it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard_ops import cli

COMMAND = [sys.executable, "-c", "from modelyard_ops.cli import main; main()"]
VERBS = tuple(cli.VERBS) + tuple(cli.GROUPS)


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True, cwd=folder)


def test_help_names_every_verb_and_the_exit_codes() -> None:
    """What a person reads first is complete."""
    text = " ".join(run("--help").stdout.split())
    for verb in VERBS:
        assert f" {verb} " in text
    assert "Exit codes: 0 done; 1" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    """`modelyard VERB --help` ends well and shows its options."""
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"modelyard {verb}" in done.stdout or f"{verb} [OPTIONS]" in done.stdout


def test_only_the_verb_that_is_asked_for_is_imported() -> None:
    """`modelyard status` does not wait for what `perf` or `build` need."""
    code = (
        "import sys; from modelyard_ops.cli import main; sys.argv = ['modelyard', 'status', '--help']\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted(name for name in sys.modules if name.startswith('modelyard_ops.commands.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "['modelyard_ops.commands.status']"


@pytest.mark.parametrize("arguments", [("bild",), ("build", "--no-such-option"), ("perf",)])
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    """An unknown verb or option, or a missing argument, is the usage's own error."""
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def assert_one_sentence(done: subprocess.CompletedProcess[str], words: str) -> None:
    """Exit code 1, the words on stderr behind `error:`, nothing else that looks like a crash."""
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_model_is_one_sentence(tmp_path: Path) -> None:
    """A typing error is answered with the name that was meant."""
    assert_one_sentence(run("build", "text_embeder", "--repository", str(tmp_path)), "Did you mean text_embedder?")


def test_a_repository_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    """Every verb that takes a repository says what it got and what it expects."""
    path = tmp_path / "model_repository"
    path.write_text("not a folder")
    for verb in ("build", "list", "serve"):
        assert_one_sentence(run(verb, "--repository", str(path)), "is a file")


def test_a_missing_repository_is_one_sentence(tmp_path: Path) -> None:
    """Serving from the wrong folder says where it looked."""
    assert_one_sentence(run("serve", folder=tmp_path), str(tmp_path))


def test_a_config_that_contradicts_the_source_stops_the_build(tmp_path: Path) -> None:
    """Before anything is fetched or exported: file, line, what stands there, what is needed."""
    path = tmp_path / "text_embedder_encoder" / "config.pbtxt"
    path.parent.mkdir()
    path.write_text('backend: "onnxruntime"\nmax_batch_size: 512\n')
    done = run("build", "text_embedder", "--repository", str(tmp_path))
    assert_one_sentence(done, f"{path}:2: max_batch_size is 512, the artefact was proven from 1 to 32")
    assert path.read_text() == 'backend: "onnxruntime"\nmax_batch_size: 512\n'


def test_list_shows_what_there_is_to_build(tmp_path: Path) -> None:
    """An empty repository: every model, no version, in JSON for scripts and in words for people."""
    rows = json.loads(run("list", "--json", "--repository", str(tmp_path)).stdout)
    assert [row["model"] for row in rows][:3] == ["text_embedder_tokenizer", "text_embedder_encoder", "text_embedder"]
    assert {row["state"] for row in rows} == {"no version yet"}
    assert "ticket_classifier_encoder" in run("list", "--repository", str(tmp_path)).stdout
