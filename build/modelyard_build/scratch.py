"""A repository of a whole system as it would be after publishing, for a server to prove it on."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from modelyard_build.artefacts import Made
from modelyard_build.assets import sha256_of
from modelyard_build.model import Ensemble, Model, PythonModel
from modelyard_build.plan import Planned
from modelyard_build.repository import config, layout, samples
from modelyard_build.repository.agreement import agree, signature
from modelyard_build.repository.model_config import ModelConfig
from modelyard_build.repository.text_format.edit import Editor
from modelyard_build.stage import Staged, warmup_tensors
from modelyard_build.targets import target_of


@contextlib.contextmanager
def system(planned: Sequence[Planned], staged: Mapping[str, Staged], made: Mapping[str, list[Made]]) -> Iterator[Path]:
    """Every model with the configs that stand in the repository, version 1 each."""
    with tempfile.TemporaryDirectory(prefix="modelyard-build-") as folder:
        for item in planned:
            _lay_out(Path(folder) / item.model.name, item, staged.get(item.model.name), made.get(item.model.name, []))
        yield Path(folder)


@contextlib.contextmanager
def with_candidate(
    planned: Sequence[Planned], owner: Planned, one: Made, staged: Mapping[str, Staged], made: Mapping[str, list[Made]]
) -> Iterator[Path]:
    """What calls a model, and what that needs, with one candidate in the model's place.

    The model and its callers have the candidate in their names, so that a message says what was proven.
    """
    name = served_as(owner.model.name, one)
    callers = [item for item in planned if owner.model.name in item.steps]
    needed = {step for item in callers for step in item.steps} - {owner.model.name}
    for item in reversed(planned):
        needed |= item.steps.keys() if item.model.name in needed else set()
    with tempfile.TemporaryDirectory(prefix="modelyard-build-") as folder:
        root = Path(folder)
        for item in planned:
            if item.model.name in needed:
                _lay_out(root / item.model.name, item, staged.get(item.model.name), made.get(item.model.name, []))
        beside = staged[owner.model.name].beside
        assert isinstance(owner.model, Model)  # noqa: S101  # nothing else has candidates
        _write(root / name, candidate_config(owner.model, beside, one), [one.folder], files_beside(beside))
        for item in callers:
            _lay_out_caller(root / served_as(item.model.name, one), item, staged.get(item.model.name), owner, name)
        yield root


def served_as(name: str, one: Made) -> str:
    """What a model is called on the server that proves a candidate."""
    return f"{name}--{one.name}"


def candidate_config(model: Model, beside: Path, one: Made) -> str:
    """A config that serves the candidate."""
    candidate = one.wanted.candidate
    return config.render(model, warmup_tensors(model, beside), target_of(candidate).serving(candidate, model))


def _lay_out_caller(root: Path, item: Planned, staged: Staged | None, owner: Planned, name: str) -> None:
    """A model that calls another, calling it by a new name."""
    if isinstance(item.model, Ensemble):
        steps = (replace(step, model=name) if step.model == owner.model.name else step for step in item.model.steps)
        text = config.render(replace(item.model, steps=tuple(steps)))
    else:
        text = _calling(config_text(item, item.folder / layout.FILENAME, item.folder), item, owner.model.name, name)
    _write(root, text, _files(item, staged), _beside(item, staged))


def _calling(text: str, item: Planned, old: str, new: str) -> str:
    """The config of a step, with another model where it names one that it calls."""
    assert isinstance(item.model, PythonModel)  # noqa: S101  # what calls and is no ensemble
    editor = Editor(text, ModelConfig)
    target = ModelConfig()
    target.CopyFrom(editor.message)
    target.ClearField("name")
    for key in (key for key, called in item.model.calls.items() if called == old):
        target.parameters[key].string_value = new
    editor.conform(target)
    return editor.text


def _files(item: Planned, staged: Staged | None) -> list[Path]:
    """The folders whose files make up a model's version: the published one, or what was staged."""
    return [*([item.latest] if item.latest and not item.reason else []), *([staged.files] if staged else [])]


def config_text(item: Planned, path: Path, beside: Path) -> str:
    """What stands in one of a model's configs, as it will agree with the artefact; or what will be written there."""
    if not path.exists():
        return config.render(item.model, warmup_tensors(item.model, beside))
    before = item.before.signature if item.before else None
    return agree(config.text_of(path), item.model, before, warmup_tensors(item.model, beside))


def stands_beside(item: Planned, beside: Path) -> dict[str, Path]:
    """The labels and warmup files as they will stand beside the versions: where each comes from, by its path there.

    What stands there is people's and stays, unless it is as the version before brought it and comes out otherwise now.
    """
    fresh, found = files_beside(beside), files_beside(item.folder)
    stale = {name for name, path in found.items() if name in fresh and _is_stale(item, name, path)}
    return {**fresh, **{name: path for name, path in found.items() if name not in stale}}


def _is_stale(item: Planned, name: str, path: Path) -> bool:
    """Whether a file is the build's own, of what is no more: other labels, a sample of another input."""
    if item.before is None:
        return False
    old, new = item.before.signature["inputs"], signature(item.model)["inputs"]
    changed = {f"{samples.WARMUP}/{tensor['name']}" for tensor in old if tensor not in new}
    # A manifest of before has no record; a sample of what its input no longer is cannot be read anyway.
    known = item.before.beside.get(name, sha256_of(path) if name in changed else "")
    return (name == samples.LABELS or name in changed) and known == sha256_of(path)


def files_beside(folder: Path) -> dict[str, Path]:
    """Labels and warmup files, by their path in the folder."""
    paths = [folder / samples.LABELS, *sorted((folder / samples.WARMUP).rglob("*"))]
    return {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}


def _beside(item: Planned, staged: Staged | None) -> dict[str, Path]:
    return stands_beside(item, staged.beside) if staged else files_beside(item.folder)


def _lay_out(root: Path, item: Planned, staged: Staged | None, made: Sequence[Made]) -> None:
    candidates = [one.folder for one in made if not one.refused] if staged else []
    text = config_text(item, item.folder / layout.FILENAME, staged.beside if staged else item.folder)
    _write(root, text, [*_files(item, staged), *candidates], _beside(item, staged))


def _write(root: Path, text: str, files: Sequence[Path], beside: Mapping[str, Path]) -> None:
    """A model's folder: its config, links to the files of its version, its labels and warmup from where they stand."""
    (root / "1").mkdir(parents=True)
    (root / layout.FILENAME).write_bytes(config.bytes_of(text))
    for name, source in beside.items():
        # The name of a tensor, and so of its file, may have slashes.
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / name)
    for folder in files:
        for path in folder.iterdir():
            link = root / "1" / path.name
            if not link.exists():
                link.symlink_to(path.absolute())
