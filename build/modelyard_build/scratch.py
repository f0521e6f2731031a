"""A repository of a whole system as it would be after publishing, for a server to prove it on."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from modelyard_build.artefacts import Made
from modelyard_build.model import AnyModel, Ensemble, Model
from modelyard_build.plan import Planned
from modelyard_build.repository import config, layout, samples
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
    """The ensembles of a model, and what they need, with one candidate in the model's place.

    The model and the ensembles have the candidate in their names, so that a message says what was proven.
    """
    name = served_as(owner.model.name, one)
    ensembles = [item for item in planned if owner.model.name in item.steps]
    needed = {step for item in ensembles for step in item.steps} - {owner.model.name}
    with tempfile.TemporaryDirectory(prefix="modelyard-build-") as folder:
        root = Path(folder)
        for item in planned:
            if item.model.name in needed:
                _lay_out(root / item.model.name, item, staged.get(item.model.name), made.get(item.model.name, []))
        beside = staged[owner.model.name].beside
        assert isinstance(owner.model, Model)  # noqa: S101  # nothing else has candidates
        _write(root / name, candidate_config(owner.model, beside, one), [one.folder], [beside])
        for item in ensembles:
            assert isinstance(item.model, Ensemble)  # noqa: S101  # nothing else has steps
            renamed = _with_step(item.model, owner.model.name, name, served_as(item.model.name, one))
            _write(root / renamed.name, config.render(renamed), [], [_beside(item, staged.get(item.model.name))])
        yield root


def served_as(name: str, one: Made) -> str:
    """What a model is called on the server that proves a candidate."""
    return f"{name}--{one.name}"


def candidate_config(model: Model, beside: Path, one: Made) -> str:
    """A config that serves the candidate."""
    candidate = one.wanted.candidate
    return config.render(model, warmup_tensors(model, beside), target_of(candidate).serving(candidate, model))


def _with_step(ensemble: Ensemble, old: str, new: str, name: str) -> Ensemble:
    steps = tuple(replace(step, model=new) if step.model == old else step for step in ensemble.steps)
    return replace(ensemble, name=name, steps=steps)


def config_text(model: AnyModel, folder: Path, beside: Path) -> str:
    """The config.pbtxt that stands, or the one that will be written."""
    path = folder / layout.FILENAME
    return path.read_text() if path.exists() else config.render(model, warmup_tensors(model, beside))


def _beside(item: Planned, staged: Staged | None) -> Path:
    return staged.beside if staged else item.folder


def _lay_out(root: Path, item: Planned, staged: Staged | None, made: Sequence[Made]) -> None:
    published = [item.latest] if item.latest and not item.reason else []
    fresh = [staged.files, *(one.folder for one in made if not one.refused)] if staged else []
    beside = _beside(item, staged)
    _write(root, config_text(item.model, item.folder, beside), [*published, *fresh], [item.folder, beside])


def _write(root: Path, text: str, files: Sequence[Path], beside: Sequence[Path]) -> None:
    """A model's folder: its config, links to the files of its version, its labels and warmup from where they stand."""
    (root / "1").mkdir(parents=True)
    (root / layout.FILENAME).write_text(text)
    for name in (samples.LABELS, samples.WARMUP):
        source = next((folder / name for folder in beside if (folder / name).exists()), None)
        if source is not None and source.is_dir():
            shutil.copytree(source, root / name)
        elif source is not None:
            shutil.copyfile(source, root / name)
    for folder in files:
        for path in folder.iterdir():
            link = root / "1" / path.name
            if not link.exists():
                link.symlink_to(path.absolute())
