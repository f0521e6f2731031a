"""Versions: added whole or not at all; what served before is never touched."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard_build.errors import PublishFailed
from modelyard_build.repository.versions import latest, publish, versions, write_missing


def nothing(folder: Path, version: int) -> None:
    """Adds nothing to a version."""


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    (folder / "data").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "data" / "weights").write_bytes(b"weights")
    return folder


def test_versions_are_those_that_triton_sees(tmp_path: Path) -> None:
    """Leading zeros, names, files and staging folders are not versions."""
    for name in ("1", "10", "2", "03", "0", "v4", ".staging-1-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    assert versions(tmp_path) == [1, 2, 10]
    assert latest(tmp_path) == tmp_path / "10"


def test_a_version_appears_complete(staged: Path, tmp_path: Path) -> None:
    """What `finish` adds is there when the number appears, and no staging folder is left."""
    model = tmp_path / "repository" / "model"

    def finish(folder: Path, version: int) -> None:
        (folder / "manifest.json").write_text(str(version))
        assert versions(model) == []

    folder = publish([staged], model, finish)
    assert folder == model / "1"
    assert (folder / "manifest.json").read_text() == "1"
    assert (folder / "data" / "weights").read_bytes() == b"weights"
    assert [entry.name for entry in model.iterdir()] == ["1"]
    assert publish([staged], model, nothing) == model / "2"


def test_a_failure_leaves_what_was(staged: Path, tmp_path: Path) -> None:
    """Whatever stops a publish, Ctrl-C too: version 1 is as it was, and nothing half-made stands beside it."""
    model = tmp_path / "model"
    publish([staged], model, nothing)

    def interrupt(folder: Path, version: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish([staged], model, interrupt)
    assert [entry.name for entry in model.iterdir()] == ["1"]
    assert (model / "1" / "model.onnx").read_bytes() == b"graph"


def test_what_a_killed_build_left_is_swept(staged: Path, tmp_path: Path) -> None:
    """A staging folder of a process that is gone is removed by the next publish; that of a living one stays."""
    model = tmp_path / "model"
    (model / ".staging-999999999-dead").mkdir(parents=True)
    (model / ".staging-1-alive").mkdir()
    publish([staged], model, nothing)
    assert sorted(entry.name for entry in model.iterdir()) == [".staging-1-alive", "1"]


def test_a_repository_that_is_a_file_is_named(staged: Path, tmp_path: Path) -> None:
    """The sentence says that a folder is expected and how to name one."""
    (tmp_path / "repository").write_text("not a folder")
    with pytest.raises(PublishFailed, match=r"is a file.*--repository"):
        publish([staged], tmp_path / "repository" / "model", nothing)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    mounted = tmp_path / "full"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs more rights than this user has")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_full_disk_loses_nothing(staged: Path, full_disk: Path) -> None:
    """No room for version 2: the sentence says so, version 1 is intact, and no half version is left."""
    model = full_disk / "model"
    publish([staged], model, nothing)
    (staged / "model.onnx").write_bytes(b"x" * 200_000)
    with pytest.raises(PublishFailed, match="the disk is full"):
        publish([staged], model, nothing)
    assert [entry.name for entry in model.iterdir()] == ["1"]
    assert (model / "1" / "model.onnx").read_bytes() == b"graph"


def test_a_read_only_disk_is_named(staged: Path, full_disk: Path) -> None:
    """A repository on a read-only mount is refused in words."""
    (full_disk / "model").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
    with pytest.raises(PublishFailed, match="read-only"):
        publish([staged], full_disk / "model", nothing)


def test_a_file_of_people_is_never_overwritten(tmp_path: Path) -> None:
    """Only what is missing is written."""
    path = tmp_path / "model" / "config.pbtxt"
    assert write_missing(path, b"ours")
    path.write_bytes(b"theirs")
    assert not write_missing(path, b"ours")
    assert path.read_bytes() == b"theirs"
