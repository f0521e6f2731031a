"""A rebuild changes what the artefact dictates in the configs, and nothing that anybody else wrote there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor as TorchTensor

from modelyard_build import model as declare
from modelyard_build.errors import BuildError, ConfigContradiction, PublishFailed
from modelyard_build.model import Arrays, Ensemble, Model, PythonModel, Step, Tensor
from modelyard_build.models import find
from modelyard_build.repository import config, manifest, versions
from modelyard_build.repository.agreement import agree, signature
from modelyard_build.repository.versions import replaced
from support.candidates import Steps, build, config_for, declare_only, pooler_alone
from support.small_models import POOLER, SEQUENCE, Pooler, examples, with_output

IDS, MASK = POOLER.inputs
TOKENIZER = cast(PythonModel, find("text_embedder_tokenizer"))
EMBEDDER = cast(Ensemble, find("text_embedder"))


def hand_edited(text: str) -> str:
    """A config as an operator leaves it: comments, another delay, another order, a line end of another system."""
    edited = text.replace(
        "max_queue_delay_microseconds: 1000", "max_queue_delay_microseconds: 77 # measured on the 3rd"
    )
    edited = edited.replace("input [\n", "input [\n  # The tokens.\n", 1)
    edited = edited.replace('"scores",', '"scores", # read by the portal\n   ')
    assert edited.count("#") == text.count("#") + 3
    return f"# Ours, call before you touch it.\r\n{edited}"


def agreed(model: declare.AnyModel, now: declare.AnyModel, text: str = "", warmup: tuple[Tensor, ...] = ()) -> str:
    """A config of a model after it was declared otherwise."""
    return agree(text or hand_edited(config.render(model)), now, signature(model), warmup)


def lines_changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """What stood there alone before, and what stands there now."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_signature_that_stays_changes_nothing() -> None:
    """Whatever else was edited."""
    text = hand_edited(config.render(POOLER))
    assert agreed(POOLER, POOLER, text) == text
    assert agree(text, with_output("other"), None) == text


CHANGES: dict[str, tuple[Model, list[str], list[str]]] = {
    "an output is called otherwise": (
        with_output("logits"),
        ['  { name: "scores", # read by the portal\n'],
        ['  { name: "logits", # read by the portal\n'],
    ),
    "an input is of another dtype": (
        replace(POOLER, inputs=(replace(IDS, dtype="INT32"), MASK)),
        ['  { name: "input_ids", data_type: TYPE_INT64, dims: [ -1 ] },\n'],
        ['  { name: "input_ids", data_type: TYPE_INT32, dims: [ -1 ] },\n'],
    ),
    "an input is narrower": (
        replace(POOLER, inputs=(IDS, replace(MASK, dims=(24,)))),
        ['  { name: "attention_mask", data_type: TYPE_INT64, dims: [ -1 ] }\n'],
        ['  { name: "attention_mask", data_type: TYPE_INT64, dims: [ 24 ] }\n'],
    ),
    "an input is gone": (
        replace(POOLER, inputs=(IDS,)),
        [
            '  { name: "input_ids", data_type: TYPE_INT64, dims: [ -1 ] },\n',
            '  { name: "attention_mask", data_type: TYPE_INT64, dims: [ -1 ] }\n',
        ],
        ['  { name: "input_ids", data_type: TYPE_INT64, dims: [ -1 ] }\n'],
    ),
    "an input is new": (
        replace(POOLER, inputs=(IDS, Tensor("types", "INT64", (SEQUENCE,)), MASK)),
        [],
        ['  { name: "types", data_type: TYPE_INT64, dims: [ -1 ] },\n'],
    ),
    "batches are smaller": (replace(POOLER, max_batch_size=8), ["max_batch_size: 16\n"], ["max_batch_size: 8\n"]),
    "batches are larger": (replace(POOLER, max_batch_size=32), [], []),
    "an output has labels": (
        replace(POOLER, outputs=(Tensor("scores", "FP32", (5,), tuple("abcde")),)),
        ["    data_type: TYPE_FP32, dims: [ 5 ] }\n"],
        ['    data_type: TYPE_FP32, dims: [ 5 ], label_filename: "labels.txt" }\n'],
    ),
}


@pytest.mark.parametrize(("now", "gone", "come"), CHANGES.values(), ids=CHANGES.keys())
def test_a_stale_field_follows_alone(now: Model, gone: list[str], come: list[str]) -> None:
    """The lines of it change; every other byte, comments included, is as it was, and the result agrees."""
    text = hand_edited(config.render(POOLER))
    after = agreed(POOLER, now)
    assert lines_changed(text, after) == (gone, come)
    config.check(Path("config.pbtxt"), now, after)
    assert agreed(POOLER, now, after) == after


def test_labels_that_are_gone_are_taken_out() -> None:
    """The build's own file; one of another name is somebody's."""
    labelled = replace(POOLER, outputs=(Tensor("scores", "FP32", (5,), tuple("abcde")),))
    text = config.render(labelled)
    assert agreed(labelled, POOLER, text) == config.render(POOLER)
    other = text.replace("labels.txt", "names.txt")
    assert agreed(labelled, POOLER, other) == other


@pytest.mark.parametrize(
    ("before", "after", "now", "words"),
    [
        ("dims: [ 5 ]", "dims: [ 7 ]", replace(POOLER, outputs=(Tensor("scores", "FP32", (6,)),)), "has dims [7]"),
        ("max_batch_size: 16", "max_batch_size: 12", replace(POOLER, max_batch_size=8), "max_batch_size is 12"),
        ('"scores"', '"mine"', with_output("logits"), "'mine' is not the artefact's; it has logits"),
        ("TYPE_FP32", "TYPE_FP64", replace(POOLER, outputs=(Tensor("scores", "FP16", (5,)),)), "is TYPE_FP64"),
    ],
)
def test_a_hand_edit_that_contradicts_stays(before: str, after: str, now: Model, words: str) -> None:
    """It says neither what was declared nor what is: the check names it, with its line."""
    text = config.render(POOLER).replace(before, after, 1)
    changed = agreed(POOLER, now, text)
    assert after in changed
    with pytest.raises(ConfigContradiction, match=r"config\.pbtxt:\d+: ") as caught:
        config.check(Path("config.pbtxt"), now, changed)
    assert words in str(caught.value)


def test_a_hand_edit_that_still_fits_stays() -> None:
    """A smaller batch than the new largest one is the operator's choice."""
    text = config.render(POOLER).replace("max_batch_size: 16", "max_batch_size: 4")
    assert agreed(POOLER, replace(POOLER, max_batch_size=8), text) == text


def test_a_preferred_batch_above_the_new_largest_is_named() -> None:
    """Triton would refuse the pair; which sizes to keep is nothing that the build knows."""
    text = config.render(POOLER).replace("dynamic_batching {", "dynamic_batching {\n  preferred_batch_size: [ 4, 16 ]")
    now = replace(POOLER, max_batch_size=8)
    with pytest.raises(ConfigContradiction, match="preferred_batch_size 16 is above max_batch_size 8"):
        config.check(Path("config.pbtxt"), now, agreed(POOLER, now, text))


def test_the_warmup_sample_follows_its_input() -> None:
    """Name, dtype and dims of what reads the build's own file; a sample of somebody's own stays."""
    warmup = (Tensor("input_ids", "INT64", (24,)), Tensor("attention_mask", "INT64", (24,)))
    own = 'model_warmup { name: "own" batch_size: 1 inputs { key: "input_ids" value { zero_data: true } } }\n'
    text = config.render(POOLER, warmup) + own
    now = replace(POOLER, inputs=(Tensor("tokens", "INT32", (SEQUENCE,)), MASK))
    after = agreed(POOLER, now, text, (Tensor("tokens", "INT32", (12,)), Tensor("attention_mask", "INT64", (24,))))
    sample = config.stated_in(Path("config.pbtxt"), after).bound.message.model_warmup[0]
    assert {
        name: (value.data_type, list(value.dims), value.input_data_file) for name, value in sample.inputs.items()
    } == {
        "tokens": (8, [12], "tokens"),
        "attention_mask": (9, [24], "attention_mask"),
    }
    assert own in after


def test_the_steps_of_an_ensemble_follow() -> None:
    """Another model in a step and another name of a tensor; the version that somebody pinned stays pinned."""
    text = hand_edited_steps(config.render(EMBEDDER))
    first, second = EMBEDDER.steps
    new = replace(second, model="another_encoder", output_map={"embedding": "vector"})
    now = replace(EMBEDDER, steps=(first, new), outputs=(replace(EMBEDDER.outputs[0], name="vector"),))
    after = agreed(EMBEDDER, now, text)
    config.check(Path("config.pbtxt"), now, after)
    stated = config.stated_in(Path("config.pbtxt"), after).bound.message.ensemble_scheduling.step
    assert [step.model_name for step in stated] == [first.model, "another_encoder"]
    assert dict(stated[1].output_map) == {"embedding": "vector"}
    assert stated[0].model_version == 3
    assert "# pinned" in after


def hand_edited_steps(text: str) -> str:
    """The first step pinned to a version."""
    return text.replace("model_version: -1 # the newest that is loaded", "model_version: 3 # pinned", 1)


def test_steps_that_somebody_rewired_stay() -> None:
    """The check says which are declared."""
    first, second = EMBEDDER.steps
    text = config.render(EMBEDDER).replace(f'"{second.model}"', '"mine"')
    now = replace(EMBEDDER, steps=(first, Step("another_encoder", second.input_map, second.output_map)))
    after = agreed(EMBEDDER, now, text)
    assert '"mine"' in after
    with pytest.raises(ConfigContradiction, match="declared are text_embedder_tokenizer, another_encoder"):
        config.check(Path("config.pbtxt"), now, after)


def test_a_parameter_that_a_step_newly_reads_is_added() -> None:
    """With its declared value; one that was there keeps what somebody wrote."""
    now = replace(TOKENIZER, parameters={**TOKENIZER.parameters, "new": "7"})
    text = config.render(TOKENIZER)
    after = agreed(TOKENIZER, now, text)
    assert lines_changed(text, after) == ([], ['parameters { key: "new", value: { string_value: "7" } }\n'])
    without = text.replace(next(line for line in text.splitlines() if line.startswith("parameters")), "")
    with pytest.raises(ConfigContradiction, match="the step needs it"):
        config.check(Path("config.pbtxt"), now, agreed(TOKENIZER, now, without))


@pytest.fixture(scope="module", autouse=True)
def only_the_pooler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The pooler is every model there is, in a cache of this file's own."""
    with pooler_alone(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="module")
def built(only_the_pooler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version, and the configs as an operator left them."""
    repository = tmp_path_factory.mktemp("repository")
    build(repository)
    folder = repository / "pooler"
    (folder / "configs").mkdir()
    text = (folder / "config.pbtxt").read_text()
    (folder / "config.pbtxt").write_bytes(hand_edited(text).encode())
    (folder / "configs" / "cpu.pbtxt").write_text(
        f"{text}# For the small machines: \udce9t\udce9.\n", errors="surrogateescape"
    )
    return repository


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(built, tmp_path / "repository")


def contents(repository: Path) -> dict[str, bytes]:
    """Every file of the model."""
    return {
        path.relative_to(repository).as_posix(): path.read_bytes() for path in repository.rglob("*") if path.is_file()
    }


class Smaller(Pooler):
    """Answers the first three scores of the pooler."""

    def forward(self, input_ids: TorchTensor, attention_mask: TorchTensor) -> TorchTensor:
        """As the pooler."""
        scores: TorchTensor = super().forward(input_ids, attention_mask)
        return scores[:, :3]


SMALLER = replace(POOLER, load=lambda files: Smaller().eval(), outputs=(Tensor("logits", "FP32", (3,)),))


def test_a_rebuild_edits_each_config_and_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and dims of the output, in both configs; every other byte stays; the diff is told; then nothing is to do."""
    folder = repository / "pooler"
    before = {path: path.read_bytes() for path in config.paths(folder)}
    declare_only(monkeypatch, SMALLER, file="assets.py")
    steps = Steps()
    (result,) = build(repository, progress=steps)
    assert (result.built, result.version) == (True, 2)
    for path, content in before.items():
        expected = content.replace(b'"scores"', b'"logits"').replace(b"dims: [ 5 ]", b"dims: [ 3 ]")
        assert path.read_bytes() == expected
        assert b"\xe9t\xe9" in expected or b"# Ours" in expected
    told = "\n".join(steps.said)
    assert f"--- {folder / 'config.pbtxt'}\n" in told
    assert '\n-  { name: "scores", # read by the portal\n' in told
    assert '\n+  { name: "logits", # read by the portal\n' in told
    assert manifest.read(folder / "2").signature == signature(SMALLER)
    again = contents(repository)
    assert [item.built for item in build(repository)] == [False]
    assert contents(repository) == again


def test_a_contradiction_stops_before_anything_is_made(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, line and both sides; no step is run and no file is touched."""
    path = repository / "pooler" / "configs" / "cpu.pbtxt"
    path.write_bytes(path.read_bytes().replace(b"dims: [ 5 ]", b"dims: [ 4 ]"))
    before = contents(repository)
    declare_only(monkeypatch, SMALLER, file="assets.py")
    steps = Steps()
    with pytest.raises(
        ConfigContradiction, match=r"cpu\.pbtxt:10: output 'logits' has dims \[4\], the artefact's are \[3\]"
    ):
        build(repository, progress=steps)
    assert steps.seen == []
    assert contents(repository) == before


def test_what_is_not_proven_changes_no_config(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The artefact differs from PyTorch: the configs are those of the version that serves."""

    class Wrong(Smaller):
        def forward(self, input_ids: TorchTensor, attention_mask: TorchTensor) -> TorchTensor:
            scores: TorchTensor = super().forward(input_ids, attention_mask)
            return scores * 1.01 if torch.compiler.is_exporting() else scores

    before = contents(repository)
    declare_only(monkeypatch, replace(SMALLER, load=lambda files: Wrong().eval()), file="quality.py")
    with pytest.raises(BuildError):
        build(repository)
    assert contents(repository) == before


def test_a_version_that_cannot_take_its_name_leaves_the_configs(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renaming fails after the configs were changed: they are as they were, and nothing half is left."""
    before = contents(repository)
    declare_only(monkeypatch, SMALLER, file="assets.py")
    seen = []

    def fail(path: Path, target: Path) -> Path:
        seen.append((repository / "pooler" / "config.pbtxt").read_bytes())
        raise OSError(28, "No space left on device")

    rename = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda path, target: fail(path, target) if target.name == "2" else rename(path, target)
    )
    with pytest.raises(PublishFailed, match="the disk is full"):
        build(repository)
    assert b'"logits"' in seen[0]
    assert contents(repository) == before
    assert list((repository / "pooler").glob(".*")) == []


def test_a_build_that_was_killed_between_config_and_version_heals(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configs agree with what comes already: the next build publishes it, and finds nothing to change in them."""
    declare_only(monkeypatch, SMALLER, file="assets.py")
    folder = repository / "pooler"
    for path in config.paths(folder):
        text = agree(config.text_of(path), SMALLER, signature(POOLER))
        path.write_bytes(config.bytes_of(text))
    changed = {path: path.read_bytes() for path in config.paths(folder)}
    steps = Steps()
    (result,) = build(repository, progress=steps)
    assert (result.built, result.version) == (True, 2)
    assert {path: path.read_bytes() for path in config.paths(folder)} == changed
    assert not [line for line in steps.said if line.startswith("---")]


def test_a_sample_of_an_input_that_changed_is_made_anew(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as many bytes an element: file and config follow; a file that was edited stays."""

    def narrow(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
        made = examples({}, batch, sizes)
        return {**made, "attention_mask": made["attention_mask"].astype("int32")}

    folder = repository / "pooler"
    edited = folder / "warmup" / "input_ids"
    edited.write_bytes(np.frombuffer(edited.read_bytes(), np.int64)[::-1].tobytes())
    kept, size = edited.read_bytes(), (folder / "warmup" / "attention_mask").stat().st_size
    now = replace(POOLER, inputs=(IDS, replace(MASK, dtype="INT32")), examples=narrow)
    declare_only(monkeypatch, now, file="progress.py")
    build(repository)
    assert (folder / "warmup" / "attention_mask").stat().st_size == size // 2
    assert edited.read_bytes() == kept
    sample = config.read(folder / "config.pbtxt").model_warmup[0]
    assert (sample.inputs["attention_mask"].data_type, sample.inputs["input_ids"].data_type) == (8, 9)


def test_replaced_files_keep_their_permissions_and_come_back(tmp_path: Path) -> None:
    """In place while the block runs; as they were where it fails."""
    path = tmp_path / "config.pbtxt"
    path.write_text("old")
    path.chmod(0o640)

    def interrupted() -> None:
        with replaced({path: b"new"}):
            assert path.read_bytes() == b"new"
            assert path.stat().st_mode & 0o777 == 0o640
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    with replaced({path: b"new"}):
        pass
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_config_is_read_without_frameworks() -> None:
    """What lint and the config commands import of the repository starts in a moment."""
    code = (
        "import sys; import modelyard_build.repository.text_format.edit; f = {'torch', 'onnx', 'numpy', 'grpc'}; "
        "sys.exit(str(found) if (found := f & sys.modules.keys()) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_versions_are_the_build_s_alone(repository: Path) -> None:
    """The copy that the tests change has one."""
    assert versions.versions(repository / "pooler") == [1]
    assert config_for("onnxruntime-fp32") == config.render(POOLER)


def test_a_sample_of_an_input_that_stays_is_left_alone() -> None:
    """Its dims are those of a file that stays, whatever a new sample would have had; also for manifests of before."""
    warmup = (Tensor("input_ids", "INT64", (24,)), Tensor("attention_mask", "INT64", (24,)))
    fresh = tuple(replace(tensor, dims=(12,)) for tensor in warmup)
    text = config.render(POOLER, warmup)
    short = {key: value for key, value in signature(POOLER).items() if key != "outputs"}
    short["outputs"] = [{"name": "scores", "dtype": "FP32", "dims": [5]}]
    assert agree(text, POOLER, short, fresh) == text


def test_a_model_that_is_two_steps_stays_two() -> None:
    """Each keeps the version that somebody pinned."""
    first, second = EMBEDDER.steps
    twice = replace(EMBEDDER, steps=(first, second, Step(first.model, {"text": "embedding"}, {"input_ids": "again"})))
    text = config.render(twice).replace("model_version: -1", "model_version: 1", 1)
    now = replace(twice, steps=(*twice.steps[:2], replace(twice.steps[2], output_map={"input_ids": "more"})))
    after = agreed(twice, now, text)
    assert after == text.replace('"again"', '"more"')


def test_a_manifest_without_a_signature_is_told(repository: Path) -> None:
    """Damaged by hand: a sentence with the folder, and no traceback."""
    path = repository / "pooler" / "1" / "manifest.json"
    path.write_text(path.read_text().replace('"max_batch_size"', '"max"'))
    with pytest.raises(BuildError, match="has no signature that can be read"):
        build(repository)


@pytest.mark.parametrize("edited", [False, True])
def test_labels_that_are_declared_otherwise_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    """Labels.txt is the build's as long as nobody edits it; the config names it throughout."""
    first = replace(POOLER, outputs=(Tensor("scores", "FP32", (5,), tuple("abcde")),))
    declare_only(monkeypatch, first, file="wanted.py")
    build(tmp_path)
    path = tmp_path / "pooler" / "labels.txt"
    if edited:
        path.write_text("one\ntwo\nthree\nfour\nfive\n")
    stands = path.read_text()
    before = (tmp_path / "pooler" / "config.pbtxt").read_bytes()
    declare_only(
        monkeypatch, replace(first, outputs=(replace(first.outputs[0], labels=tuple("vwxyz")),)), file="similarity.py"
    )
    (result,) = build(tmp_path)
    assert result.version == 2
    assert path.read_text() == (stands if edited else "v\nw\nx\ny\nz\n")
    assert (tmp_path / "pooler" / "config.pbtxt").read_bytes() == before
