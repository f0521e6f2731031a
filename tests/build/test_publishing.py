"""Publishing candidates: a version is completed in one step, and what stands in it never changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modelyard_build import graph_files
from modelyard_build.artefacts import Made
from modelyard_build.errors import PublishFailed
from modelyard_build.plan import plan
from modelyard_build.proving import Proof
from modelyard_build.publishing import Publication, publish
from modelyard_build.repository import manifest, versions
from modelyard_build.repository.manifest import Manifest
from modelyard_build.repository.releases import DEFAULT_RELEASE, release
from modelyard_build.stage import stage
from modelyard_build.targets import onnxruntime
from support.candidates import Steps, WrongWhenTraced, build, declare_only, loading, pooler_alone
from support.small_models import POOLER

RELEASE = release(DEFAULT_RELEASE)
NEEDED_KIB = 400


@pytest.fixture(scope="module", autouse=True)
def only_the_pooler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The pooler is every model there is, in a cache of this file's own."""
    with pooler_alone(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="module")
def built(only_the_pooler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with the portable candidate alone."""
    repository = tmp_path_factory.mktemp("repository")
    build(repository)
    return repository


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(built, tmp_path / "repository")


def version_of(repository: Path) -> Path:
    return repository / "pooler" / "1"


def state(version: Path) -> dict[str, tuple[int, str]]:
    """Inode and hash of every file of a version but the manifest."""
    return {
        path.name: (path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in version.iterdir()
        if path.name != manifest.FILENAME
    }


def whole(version: Path) -> Manifest:
    """The manifest, every file as it says."""
    found = manifest.read(version)
    assert manifest.damage(version, found) == ""
    return found


def test_adding_leaves_what_is_published_as_it_is(repository: Path) -> None:
    """The same version, the same files with the same inodes; the new ones beside them and in the manifest."""
    version = version_of(repository)
    before, told = state(version), whole(version)
    (result,) = build(repository, "pytorch-fp32", "openvino-fp32")
    assert (result.built, result.version, sorted(result.added)) == (False, 1, ["openvino-fp32", "pytorch-fp32"])
    after = state(version)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"model.xml", "model.bin", "model.pt"}
    found = whole(version)
    assert set(found.files) == set(after)
    assert set(found.candidates) == {"onnxruntime-fp32", "pytorch-fp32", "openvino-fp32"}
    assert (found.key, found.created, found.version) == (told.key, told.created, 1)
    assert [path.name for path in (repository / "pooler").glob(".*")] == []


def test_a_candidate_that_shares_its_file_adds_a_line_alone(repository: Path) -> None:
    """openvino-bf16 is openvino-fp32's file with another setting: nothing is written but the manifest."""
    build(repository, "openvino-fp32")
    before = state(version_of(repository))
    build(repository, "openvino-bf16")
    assert state(version_of(repository)) == before
    assert whole(version_of(repository)).candidates["openvino-bf16"]["files"] == ["model.bin", "model.xml"]


def test_a_refused_candidate_is_recorded_without_files(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version keeps the reason, so that a later build does not try again; nothing else changes."""
    # The good module's evidence is in this file's cache.
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    declare_only(monkeypatch, loading(WrongWhenTraced))
    before = state(version_of(repository))
    (result,) = build(repository, "pytorch-fp32")
    assert result.added == []
    assert state(version_of(repository)) == before
    assert "differs from PyTorch" in whole(version_of(repository)).candidates["pytorch-fp32"]["refused"]
    steps = Steps()
    build(repository, "pytorch-fp32", progress=steps)
    assert steps.seen == []


def test_people_s_files_are_left_alone(repository: Path) -> None:
    """Config and golden samples that were edited stay as they are when something is added."""
    config = repository / "pooler" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 2", "count: 1"))
    golden = repository / "pooler" / "golden" / "samples.json"
    golden.write_text("{}")
    build(repository, "pytorch-fp32")
    assert "count: 1" in config.read_text()
    assert golden.read_text() == "{}"


def test_an_interruption_before_the_manifest_leaves_the_version_as_it_was(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers see the version of before, whole; the next build completes it."""
    version = version_of(repository)
    told, before = whole(version), state(version)

    def interrupt(*arguments: Any) -> None:
        assert (version / "model.pt").is_file()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(repository, "pytorch-fp32")
    assert whole(version) == told
    assert {name: state(version)[name] for name in before} == before
    assert [path.name for path in (repository / "pooler").glob(".*")] == []
    (result,) = build(repository, "pytorch-fp32")
    assert result.added == ["pytorch-fp32"]
    assert "model.pt" in whole(version).files


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={NEEDED_KIB}k", "tmpfs", str(mounted)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs more rights than this user has")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(folder: Path) -> Path:
    """Takes all the room that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return path
    return path


def test_a_full_disk_loses_nothing(built: Path, small_disk: Path) -> None:
    """The sentence says so; the version is what it was, nothing half is left, and with room the build completes it."""
    repository = small_disk / "repository"
    shutil.copytree(built, repository)
    version = version_of(repository)
    told, before = whole(version), state(version)
    filler = fill(small_disk)
    with pytest.raises(PublishFailed, match=r"the disk is full\. Free some space"):
        build(repository, "pytorch-fp32")
    assert whole(version) == told
    assert state(version) == before
    assert [path.name for path in (repository / "pooler").glob(".*")] == []
    filler.unlink()
    assert build(repository, "pytorch-fp32")[0].added == ["pytorch-fp32"]


def test_a_disk_that_is_full_at_the_manifest_loses_nothing(
    built: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are in place and the manifest does not fit: readers still see the version of before."""
    repository = small_disk / "repository"
    shutil.copytree(built, repository)
    version = version_of(repository)
    told = whole(version)
    write = manifest.write

    def after_filling(found: Manifest, folder: Path) -> None:
        fill(small_disk)
        write(found, folder)

    monkeypatch.setattr(manifest, "write", after_filling)
    with pytest.raises(PublishFailed, match="the disk is full"):
        build(repository, "pytorch-fp32")
    assert whole(version) == told
    assert not list(version.glob(".*"))


def test_a_file_that_would_come_out_otherwise_is_refused(repository: Path, tmp_path: Path) -> None:
    """A published file is never replaced: the sentence names it, and the version is untouched."""
    version = version_of(repository)
    told, before = whole(version), state(version)
    (planned,) = plan([POOLER], repository, ["pytorch-fp32"])
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.onnx").write_bytes(b"another graph")
    made = Made(planned.additions[0], other, {"proven": "artefact"}, "")
    publication = Publication(stage(planned, RELEASE, Steps()), Proof({}, {}, {}), [made], {}, RELEASE)
    with pytest.raises(PublishFailed, match=rf"{version}/model\.onnx is published, and now comes out otherwise"):
        publish(publication, Steps())
    assert whole(version) == told
    assert state(version) == before


def test_two_candidates_with_one_file_name_are_refused(repository: Path, tmp_path: Path) -> None:
    """What one of them would be served from is the other's file: no version comes of it."""
    (planned,) = plan([POOLER], repository, ["pytorch-fp32", "openvino-fp32"])
    made = []
    for item in planned.additions:
        folder = tmp_path / item.candidate.name
        folder.mkdir()
        (folder / "weights.data").write_bytes(item.candidate.name.encode())
        made.append(Made(item, folder, {"proven": "artefact"}, ""))
    for reason in ("", "no version yet"):
        staged = stage(replace(planned, reason=reason), RELEASE, Steps())
        publication = Publication(staged, Proof({}, {}, {}), made, {}, RELEASE)
        with pytest.raises(PublishFailed, match=r"weights\.data"):
            publish(publication, Steps())
    assert versions.versions(repository / "pooler") == [1]


def test_weights_beside_their_graphs_keep_apart(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs too large for one file, of two precisions in one version: each finds its own weights."""
    monkeypatch.setattr(graph_files, "SINGLE_FILE_BYTES", 0)
    proto = onnx.load(version_of(built) / "model.onnx")
    inputs = POOLER.examples({}, 2, {"sequence": 4})
    answers = []
    for precision, filename in (("fp32", "model.onnx"), ("bf16", "model.bf16.onnx")):
        (tmp_path / precision).mkdir()
        onnxruntime.write(proto, tmp_path / precision)
        graph_files.copy(tmp_path / precision / "model.onnx", tmp_path / filename)
        answers.append(onnxruntime.Runner(tmp_path / filename)(inputs)["scores"])
        bias = next(tensor for tensor in proto.graph.initializer if list(tensor.dims) == [5])
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, bias.name))
        weight = next(tensor for tensor in proto.graph.initializer if list(tensor.dims) == [50, 16])
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight)[::-1], weight.name))
    assert {path.name for path in tmp_path.glob("*.data")} == {"model.onnx.data", "model.bf16.onnx.data"}
    first = onnxruntime.Runner(tmp_path / "model.onnx")(inputs)["scores"]
    assert np.array_equal(first, answers[0])
    assert not np.allclose(answers[1], answers[0])


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version folder with a file."""
    folder = tmp_path / "model" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"published")
    return folder


@pytest.fixture
def added(tmp_path: Path) -> Path:
    """What is to be added: a file, and one deep inside."""
    folder = tmp_path / "added"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "model.xml").write_bytes(b"new")
    (folder / "a" / "b" / "weights").write_bytes(b"deep")
    (folder / "model.onnx").write_bytes(b"not this one")
    return folder


def test_files_are_in_place_before_they_are_known(version: Path, added: Path) -> None:
    """`finish` finds every file where it belongs; what is known stays what it was."""
    seen = {}

    def finish(folder: Path) -> None:
        seen.update(manifest.describe_files(folder))

    versions.add([added], version, {"model.onnx"}, finish)
    assert set(seen) == {"model.onnx", "model.xml", "a/b/weights"}
    assert (version / "model.onnx").read_bytes() == b"published"
    assert [path.name for path in version.parent.iterdir()] == ["1"]


def test_what_a_killed_addition_left_is_swept(version: Path, added: Path) -> None:
    """A staging folder of a process that is gone goes with the next addition."""
    (version.parent / ".staging-999999999-dead").mkdir()
    versions.add([added], version, {"model.onnx"}, lambda folder: None)
    assert [path.name for path in version.parent.iterdir()] == ["1"]


def test_a_manifest_is_on_the_disk_before_it_takes_its_name(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut right after the rename must not leave an empty manifest where a whole one was."""
    order: list[str] = []
    fsync, replace_ = os.fsync, Path.replace

    def remember_fsync(descriptor: int) -> None:
        order.append(f"synced {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def remember_replace(path: Path, target: Path) -> Path:
        order.append(f"named {path.name}")
        return replace_(path, target)

    monkeypatch.setattr(os, "fsync", remember_fsync)
    monkeypatch.setattr(Path, "replace", remember_replace)
    manifest.write(whole(version_of(repository)), version_of(repository))
    partial = f".{os.getpid()}-{manifest.FILENAME}"
    assert order == [f"synced {partial}", f"named {partial}"]
