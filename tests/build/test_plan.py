"""The plan: a new version, an addition to the newest one, or nothing to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard_build.assets import LocalAsset, PinnedAsset
from modelyard_build.errors import BuildError, ConfigContradiction, UnknownTarget
from modelyard_build.model import Ensemble, Step
from modelyard_build.packages import Wheel
from modelyard_build.plan import Planned, plan
from support.candidates import build, config_for, declare_only, pooler_alone
from support.small_models import POOLER


@pytest.fixture(scope="module", autouse=True)
def only_the_pooler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The pooler is every model there is, in a cache of this file's own."""
    with pooler_alone(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="module")
def built(only_the_pooler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with the portable candidate and openvino-fp32, as the build published it."""
    repository = tmp_path_factory.mktemp("repository")
    build(repository, "openvino-fp32")
    shutil.rmtree(repository / "pooler" / "configs", ignore_errors=True)
    return repository


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(built, tmp_path / "repository")


def plan_one(repository: Path, *targets: str) -> Planned:
    (planned,) = plan([POOLER], repository, targets)
    return planned


def change_record(repository: Path, name: str, **changes: Any) -> None:
    """Changes what the manifest of version 1 tells of a candidate."""
    path = repository / "pooler" / "1" / "manifest.json"
    found = json.loads(path.read_text())
    found["candidates"].setdefault(name, {"key": "0", "filename": "", "files": []}).update(changes)
    path.write_text(json.dumps(found))


def names(planned: Planned) -> list[str]:
    return [item.candidate.name for item in planned.due]


def test_the_first_version_holds_what_is_wanted(tmp_path: Path) -> None:
    """Everything that can be built here is due; nothing is an addition."""
    planned = plan_one(tmp_path, "openvino-fp32", "onnxruntime-int8")
    assert planned.reason == "no version yet"
    assert names(planned) == ["onnxruntime-fp32", "openvino-fp32"]
    assert planned.additions == ()
    assert planned.candidates[1].unavailable == "the model declares no calibration data"


def test_a_version_that_holds_all_of_it_has_nothing_to_do(repository: Path) -> None:
    """Whether the candidates are named again or not."""
    for targets in ((), ("openvino-fp32",)):
        planned = plan_one(repository, *targets)
        assert (planned.reason, names(planned)) == ("", [])


def test_a_missing_candidate_is_added_and_makes_no_new_version(repository: Path) -> None:
    """It alone is due, and there is no reason for a version."""
    planned = plan_one(repository, "pytorch-fp32", "openvino-fp32")
    assert planned.reason == ""
    assert names(planned) == ["pytorch-fp32"]


def test_a_config_adds_what_it_names(repository: Path) -> None:
    """An operator's new configs/*.pbtxt is enough; nobody has to name the target."""
    configs = repository / "pooler" / "configs"
    configs.mkdir()
    (configs / "cpu-amx.pbtxt").write_text(config_for("openvino-bf16"))
    assert names(plan_one(repository)) == ["openvino-bf16"]


def test_a_published_candidate_that_would_be_made_otherwise_makes_a_new_version(repository: Path) -> None:
    """A published file is never replaced; where the candidate is wanted, the next version has the new one."""
    change_record(repository, "openvino-fp32", key="0" * 64)
    planned = plan_one(repository, "openvino-fp32")
    assert planned.reason == "made otherwise since version 1: openvino-fp32"
    assert names(planned) == ["onnxruntime-fp32", "openvino-fp32"]
    assert plan_one(repository).reason == ""


def test_a_refused_candidate_is_not_tried_again(repository: Path) -> None:
    """A verdict on the same files stands."""
    key = plan_one(repository, "pytorch-fp32").due[0].key
    change_record(repository, "pytorch-fp32", key=key, refused="it differs", retry=False)
    assert names(plan_one(repository, "pytorch-fp32")) == []


@pytest.mark.parametrize(("same_key", "retry"), [(True, True), (False, False), (False, True)])
def test_a_refusal_that_may_go_otherwise_is_tried_again(repository: Path, same_key: bool, retry: bool) -> None:
    """A full disk, or an artefact that is made otherwise now: an addition, and no new version."""
    key = plan_one(repository, "pytorch-fp32").due[0].key if same_key else "0" * 64
    change_record(repository, "pytorch-fp32", key=key, refused="no space", retry=retry)
    planned = plan_one(repository, "pytorch-fp32")
    assert planned.reason == ""
    assert names(planned) == ["pytorch-fp32"]


def test_a_changed_source_is_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason has the files that differ, those that came and those that went."""
    declare_only(monkeypatch, POOLER, file="atomic.py")
    assert plan_one(repository).reason == "changed since version 1: atomic.py, errors.py"


def test_a_changed_file_of_the_users_own_is_named(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit of the file that a model was made of makes a new version, which says which file it was."""
    (tmp_path / "net.py").write_text("")
    edited = replace(POOLER, assets={**POOLER.assets, "net": LocalAsset(tmp_path / "net.py")})
    declare_only(monkeypatch, edited)
    (planned,) = plan([edited], repository)
    assert planned.reason == "changed since version 1: net.py"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "model.xml").unlink(), "version 1 is damaged: model.xml is gone"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "damaged: model.onnx is not what was published"),
        (lambda folder: (folder / "manifest.json").unlink(), "version 1 has no manifest"),
    ],
)
def test_a_damaged_version_is_followed_by_another(repository: Path, damage: Any, reason: str) -> None:
    """What is wrong with it stands in the reason, and everything is due."""
    damage(repository / "pooler" / "1")
    planned = plan_one(repository)
    assert reason in planned.reason
    assert names(planned) == ["onnxruntime-fp32"]


def test_an_ensemble_follows_its_steps(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key is made of theirs: a changed step makes it stale."""
    ensemble = Ensemble(
        name="pooled",
        summary="the pooler behind another name",
        steps=[Step("pooler", {}, {})],
        inputs=POOLER.inputs,
        outputs=POOLER.outputs,
        examples=lambda files, batch: POOLER.examples(files, batch, {"sequence": 4}),
        reference=lambda files, inputs: {},
        assets={},
        max_batch_size=16,
    )
    declare_only(monkeypatch, POOLER, ensemble)
    step, before = plan([POOLER, ensemble], repository)
    assert before.steps == {"pooler": step.key}
    changed = replace(POOLER, assets={"weights": PinnedAsset(Wheel("a", "1"), "file", "0" * 64)})
    declare_only(monkeypatch, changed, ensemble)
    assert plan([changed, ensemble], repository)[1].key != before.key


def test_what_stands_is_checked_before_anything_is_made(repository: Path) -> None:
    """A contradicting config for one kind of machine stops the plan, as one in config.pbtxt does."""
    configs = repository / "pooler" / "configs"
    configs.mkdir()
    (configs / "cpu-amx.pbtxt").write_text(config_for("openvino-fp32").replace("dims: [ 5 ]", "dims: [ 6 ]"))
    with pytest.raises(ConfigContradiction, match=r"cpu-amx\.pbtxt:\d+: output 'scores' has dims \[6\]"):
        plan_one(repository)


def test_wrong_names_and_files_are_refused(tmp_path: Path) -> None:
    """An unknown target, and a repository that is a file."""
    with pytest.raises(UnknownTarget, match="no target is called 'nonesuch'"):
        plan_one(tmp_path, "nonesuch")
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="is a file; a model repository is a folder"):
        plan_one(tmp_path / "file")
