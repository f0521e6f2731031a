"""What stands in a repository may be anything: the linter says so or passes it by; it never crashes, nor hangs."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from modelyard_build.repository.lint import subjects
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import Finding, lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import MAX_CONFIG_BYTES, Repository
from modelyard_ops.commands.lint import lint as lint_command
from support.triton import CONFIG, IDENTITY, write_model
from support.unprivileged import as_nobody

# The machines of a CI are slow, and a hang is for ever.
WITHIN_S = 60.0
# Without it the linter has something to say of every model that batches.
BATCHING = "dynamic_batching { }\n"


def found(repository: Path) -> list[Finding]:
    """Everything that the linter says of a repository."""
    return lint([Repository(repository, Settings())], [], Settings(), RULES)


def codes(repository: Path) -> list[str]:
    """The codes of what the linter says, each once."""
    return sorted({finding.rule.code for finding in found(repository)})


@pytest.fixture(autouse=True)
def within_the_time() -> Iterator[None]:
    """No test of this file may take long: what is hostile must not be what is slow."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < WITHIN_S


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder in a repository, with nothing wrong in it."""
    return write_model(tmp_path / "repository", "m", more=BATCHING)


def test_the_model_of_these_tests_is_clean(model: Path) -> None:
    """What the other tests find is what they made."""
    assert codes(model.parent) == []


def test_a_pipe_in_place_of_a_config_is_not_waited_for(model: Path) -> None:
    """Triton waits for its writer for ever."""
    (model / "config.pbtxt").unlink()
    os.mkfifo(model / "config.pbtxt")
    (finding,) = found(model.parent)
    assert (finding.rule.code, finding.path) == ("MY101", model / "config.pbtxt")
    assert finding.message == "config.pbtxt cannot be read: it is a pipe or a device, not a file"


def test_a_device_in_place_of_a_config_is_not_read(model: Path) -> None:
    """/dev/zero never ends."""
    (model / "config.pbtxt").unlink()
    (model / "config.pbtxt").symlink_to("/dev/zero")
    assert [finding.message for finding in found(model.parent)] == [
        "config.pbtxt cannot be read: it is a pipe or a device, not a file"
    ]


@pytest.mark.parametrize("name", ["1/model.py", "1/manifest.json", "labels.txt", "warmup/x"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
def test_other_files_may_be_none(model: Path, name: str, kind: str) -> None:
    """Wherever a config or a backend looks for a file."""
    config = CONFIG.format(backend="python", count=1).replace("dims: [ -1 ] }\ninst", LABELS)
    (model / "config.pbtxt").write_text(config + WARMUP)
    path = model / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    make: dict[str, Callable[[Path], None]] = {
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "folder": Path.mkdir,
        "loop": lambda path: path.symlink_to(path.name),
    }
    make[kind](path)
    assert "MY101" not in codes(model.parent)


LABELS = 'dims: [ 4 ] label_filename: "labels.txt" }\ninst'
WARMUP = """\
model_warmup { name: "s" batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "x" } } }
"""


def test_a_folder_in_place_of_a_config_is_said(model: Path) -> None:
    """It ends Triton: std::length_error."""
    (model / "config.pbtxt").unlink()
    (model / "config.pbtxt").mkdir()
    assert [finding.message for finding in found(model.parent)] == [
        "config.pbtxt cannot be read: it is a folder, not a file"
    ]


def test_no_descriptor_is_left_open(model: Path) -> None:
    """A thousand folders in place of configs would else be the end of the process."""
    (model / "config.pbtxt").unlink()
    (model / "config.pbtxt").mkdir()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        found(model.parent)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("target", ["config.pbtxt", "nowhere", "../m/config.pbtxt", "/proc/self/root/nowhere"])
def test_a_config_that_is_a_link_to_nothing(model: Path, target: str) -> None:
    """Links in a circle, to nothing, and out of the repository."""
    (model / "config.pbtxt").unlink()
    (model / "config.pbtxt").symlink_to(target)
    assert codes(model.parent) == ["MY101"]


def test_links_in_circles_are_not_followed(model: Path) -> None:
    """A version, a model and configs/ that lead to themselves or above."""
    (model / "2").symlink_to("2")
    (model / "configs").symlink_to("..")
    (model.parent / "again").symlink_to(".")
    (model.parent / "n").symlink_to("n")
    assert {"MY126", "MY127"} <= set(codes(model.parent))


def test_a_config_of_100_megabytes_is_refused_at_once(model: Path) -> None:
    """No more of it is read than the largest config has."""
    with (model / "config.pbtxt").open("wb") as file:
        file.write(b'backend: "python"\n')
        file.truncate(100 << 20)
    started = time.monotonic()
    (finding,) = found(model.parent)
    assert time.monotonic() - started < 1.0
    assert finding.message == "config.pbtxt has more than 4 MiB; no config has. Is it another file?"


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b'backend: "python"\n\0',
        b"\xff\xfe\x00\x01" * 1000,
        b"\x7fELF" + bytes(range(256)) * 64,
        b"\xef\xbb\xbf" + b'backend: "python"\n',
        'backend: "python"\n'.encode("utf-16"),
        b'backend: "\xff\xfe"\n',
        b"# \xff\xfe\nbackend: 1\n",
        b"{" * 100_000,
        b"input { " * 100_000,
        b"\r" * 100_000,
        b'"' * 100_000,
        b"a" * 1_000_000,
        b"input [" + b"{}," * 100_000 + b"{}]",
        b"".join(hashlib.sha256(bytes([index])).digest() for index in range(256)) * 20,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_garbage_is_a_finding(model: Path, content: bytes) -> None:
    """Binary files, NUL bytes, other encodings, depth without end, one token that is everything."""
    (model / "config.pbtxt").write_bytes(content)
    assert codes(model.parent)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        b"x: 1\n",
        b"max_batch_size: 1\n",
        b'input { name: "x" data_type: TYPE_FP99 dims: [ 1 ] }\n',
        b'ensemble_scheduling { step { model_name: "n" model_version: 1 } }\n',
        b'parameters { key: "k" value { string_value: "v" } }\n',
        b"# modelyard: ignore[MY101]\n",
        b"[\n",
    ],
    ids=lambda line: repr(line[:20]),
)
def test_the_largest_config_is_judged_in_time(model: Path, line: bytes) -> None:
    """Of 4 MiB, the same line again and again."""
    (model / "config.pbtxt").write_bytes((line * (MAX_CONFIG_BYTES // len(line)))[:MAX_CONFIG_BYTES])
    assert codes(model.parent)


@pytest.mark.parametrize(
    "step",
    [
        'step {{ model_name: "n{0}" model_version: -1 input_map {{ key: "x" value: "t{0}" }}'
        ' output_map {{ key: "y" value: "t{1}" }} }}\n',
        'step {{ model_name: "m" model_version: 7 input_map {{ key: "x" value: "t{1}" }}'
        ' output_map {{ key: "y" value: "t{0}" }} }}\n',
    ],
    ids=["steps of absent models, forwards", "of itself, backwards"],
)
def test_an_ensemble_of_5000_steps_is_judged_in_time(model: Path, step: str) -> None:
    """What is told about each is bounded, and no rule looks at each step for each step."""
    steps = "".join(step.format(index, index + 1) for index in range(5000))
    (model / "config.pbtxt").write_text(f'platform: "ensemble"\nensemble_scheduling {{\n{steps}}}\n')
    assert codes(model.parent)
    assert len(found(model.parent)) < 2000


def test_ten_thousand_entries_are_listed_in_time(model: Path) -> None:
    """In the repository, in a model, in a version."""
    for folder in (model.parent, model, model / "1"):
        for index in range(10_000):
            (folder / f"file{index}").touch()
    for index in range(2000):
        (model / f"{index + 1}").mkdir(exist_ok=True)
    assert codes(model.parent) == ["MY116"]


@pytest.mark.parametrize("name", [b"a\nb", b"\xff\xfe", b"\x1b[31mred", b" ", b"-", "mü".encode(), b"a" * 255])
def test_names_may_be_any_bytes(model: Path, name: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Of models, versions and files; each of the four formats writes them so that they can be read."""
    repository = os.fsencode(model.parent)
    os.rename(model, os.path.join(repository, name))  # noqa: PTH104, PTH118
    for folder in ("", "1", "configs"):
        os.makedirs(os.path.join(repository, name, folder.encode(), name), exist_ok=True)  # noqa: PTH103, PTH118
    os.mkdir(os.path.join(repository, b"empty" + name[:200]))  # noqa: PTH102, PTH118
    assert "MY104" in codes(model.parent)
    for output_format in ("text", "json", "sarif", "github"):
        assert lint_command([str(model.parent), "--format", output_format]) == 1
        written = capsys.readouterr().out
        assert "\x1b[31mred" not in written
        if output_format in ("json", "sarif"):
            json.loads(written)


def forbidden(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the right to read away, also from root, who reads everything."""
    real_scandir, real_open = os.scandir, os.open

    def scandir(folder: Path) -> Iterator[os.DirEntry[str]]:
        if Path(folder) == path:
            raise PermissionError(13, "Permission denied", str(folder))
        return real_scandir(folder)

    def opened(file: Path, *arguments: int) -> int:
        if Path(file) == path:
            raise PermissionError(13, "Permission denied", str(file))
        return real_open(file, *arguments)

    monkeypatch.setattr(subjects.os, "scandir", scandir)  # type: ignore[attr-defined]
    monkeypatch.setattr(subjects.os, "open", opened)  # type: ignore[attr-defined]


def test_a_model_that_may_not_be_listed_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton, as another user, may not either."""
    forbidden(model, monkeypatch)
    (finding,) = found(model.parent)
    assert finding.rule.code == "MY104"
    assert finding.message == "'m' cannot be listed: Permission denied; let the server's user read it and enter it"


def test_a_config_that_may_not_be_read_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's own words."""
    forbidden(model / "config.pbtxt", monkeypatch)
    assert [finding.message for finding in found(model.parent)] == ["config.pbtxt cannot be read: Permission denied"]


def test_a_version_that_may_not_be_listed_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not called empty: its file may well be there."""
    forbidden(model / "1", monkeypatch)
    (finding,) = found(model.parent)
    assert finding.rule.code == "MY116"
    assert "Permission denied" in finding.message


def codes_open_and_closed() -> tuple[list[str], list[str]]:
    """What the linter says of a model that may be listed, and of the same once it may not."""
    with TemporaryDirectory() as folder:
        model = write_model(Path(folder, "repository"), "m", more=BATCHING)
        listed = codes(model.parent)
        model.chmod(0)
        try:
            return listed, codes(model.parent)
        finally:
            model.chmod(0o755)


def test_rights_of_the_real_file_system() -> None:
    """The same without a stand-in, by a user for whom the rights count."""
    assert as_nobody(codes_open_and_closed) == ([], ["MY104"])


@pytest.mark.parametrize("gone", ["config.pbtxt", "1/model.py", "1", "."])
def test_what_vanishes_after_it_was_listed_does_no_harm(model: Path, gone: str) -> None:
    """A deployment replaces folders while they are linted."""
    repository = Repository(model.parent, Settings())
    for each in repository.models.values():
        assert each.configs
        assert each.versions
    path = model / gone
    path.rename(model.parent.parent / "gone")
    lint([repository], [], Settings(), RULES)


def test_a_file_that_becomes_another_while_it_is_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails in the middle of a config."""

    def broken(descriptor: int, mode: str) -> None:
        os.close(descriptor)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(subjects.os, "fdopen", broken)  # type: ignore[attr-defined]
    assert "config.pbtxt cannot be read: Input/output error" in [each.message for each in found(model.parent)]


def test_a_repository_that_is_gone_has_no_models(tmp_path: Path) -> None:
    """The command line says so before; as a library it says why."""
    repository = Repository(tmp_path / "nowhere", Settings())
    assert repository.models == {}
    assert isinstance(repository.unreadable, FileNotFoundError)


def test_a_manifest_may_be_nested_without_end(model: Path) -> None:
    """Python's reader of JSON gives up with a RecursionError."""
    (model / "1" / "manifest.json").write_text("[" * 100_000)
    (model / "1" / "model.py").write_text(IDENTITY)
    assert codes(model.parent) == []
