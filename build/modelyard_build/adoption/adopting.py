"""Anyone's model to a declaration, read top to bottom: open, inspect, try, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard_build import models
from modelyard_build.adoption import declaration, fallback
from modelyard_build.adoption.examples import with_items
from modelyard_build.adoption.inspection import Inspected, inspect
from modelyard_build.adoption.names import check_name
from modelyard_build.adoption.origin import Opened, Origin, Wish
from modelyard_build.adoption.origins import ORIGINS
from modelyard_build.adoption.trial import Trial, attempt, declared
from modelyard_build.adoption.writing import listed, npz, small, write
from modelyard_build.assets import fetch
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Model, PythonModel
from modelyard_build.progress import Progress
from modelyard_build.repository import config, layout, samples
from modelyard_build.sources import pinned_assets
from modelyard_build.stage import warmup_sample

# Items that show that they differ.
_LEAST_ITEMS = 4


@dataclass(frozen=True)
class Adopted:
    """What became of a wish.

    Attributes:
        kind: what the origin is, for people.
        declaration: the file that declares it.
        written: every file that was written; none where all stood already.
        inspected: what was found.
        fallback: why it is served by Triton's Python backend and not as a graph; empty where it is a graph.
    """

    kind: str
    declaration: Path
    written: Sequence[Path]
    inspected: Inspected
    fallback: str = ""


def adopt(wish: Wish, repository: Path, progress: Progress) -> Adopted:
    """Makes the declaration of a model, its line in the list and its config.pbtxt.

    Args:
        wish: what the user said.
        repository: the model repository; made when missing.
        progress: shows the work.

    Raises:
        AdoptionFailed: something is wrong with the name or the model; nothing is written then.
    """
    check_name(wish.name)
    origin = _origin(wish)
    with progress.step(wish.name, "open"):
        opened = origin.open(wish)
        opened = opened if opened.example_asset else _with_items(opened)
    with progress.step(wish.name, "inspect"):
        inspected = opened.inspected or inspect(opened, progress.say)
    with progress.step(wish.name, "try"):
        tried = attempt(wish, opened, inspected, progress.say)
    text = text_of(wish, opened, tried)
    with progress.step(wish.name, "write"):
        written = _write(wish, opened, tried.inspected, text, repository, progress)
    return Adopted(origin.name, models.FOLDER / f"{wish.name}.py", written, tried.inspected, tried.refused)


def text_of(wish: Wish, opened: Opened, tried: Trial) -> str:
    """The declaration; of what no graph can hold, one that serves the module as it is.

    Raises:
        AdoptionFailed: there is no graph, and no other way.
    """
    if not tried.refused:
        return declaration.render(wish, opened, tried.inspected)
    if not opened.as_it_is:
        raise AdoptionFailed(tried.refused)
    return fallback.render(wish, opened, opened.as_it_is, tried.inspected)


def _origin(wish: Wish) -> Origin:
    found = next((origin for origin in ORIGINS if origin.knows(wish)), None)
    if found is None:
        raise AdoptionFailed(
            f"--from {wish.origin}: nothing known. It may be {'; '.join(origin.name for origin in ORIGINS)}."
        )
    return found


def _with_items(opened: Opened) -> Opened:
    """Items enough to differ."""
    return replace(opened, example=with_items(opened.example, opened.draws, _LEAST_ITEMS))


def _write(
    wish: Wish, opened: Opened, inspected: Inspected, text: str, repository: Path, progress: Progress
) -> list[Path]:
    file = models.FOLDER / f"{wish.name}.py"
    index = models.FOLDER / "__init__.py"
    files = {file: text.encode(), index: listed(index.read_text(), wish.name).encode()}
    example = small(inspected.example)
    if not opened.example_asset:
        files = {file.with_suffix(".npz"): npz(example), **files}
    _check_same(file, text)
    path = repository / wish.name / layout.FILENAME
    if not path.exists():
        with declared(text, wish.name, example) as model:
            files = {**_served_with(model, path.parent, progress), **files}
    changed = {path: content for path, content in files.items() if not path.exists() or path.read_bytes() != content}
    write(changed.items())
    return list(changed)


def _check_same(file: Path, text: str) -> None:
    if file.exists() and file.read_text() != text:
        raise AdoptionFailed(
            f"{file} stands and says something else; it may have been edited, and is left as it is. Take "
            f"another name, or remove it to have it written anew."
        )


def _served_with(model: Model | PythonModel, folder: Path, progress: Progress) -> dict[Path, bytes]:
    """The config that a model is served with, the sample that warms it up, and its labels."""
    sample = warmup_sample(model, fetch(pinned_assets(model), progress.say))
    tensors = [replace(tensor, dims=sample[tensor.name].shape) for tensor in model.inputs]
    files = {folder / samples.WARMUP / name: samples.warmup_bytes(array) for name, array in sample.items()}
    files |= {folder / name: content for name, content in samples.labels_of(model.outputs).items()}
    return {folder / layout.FILENAME: config.bytes_of(config.render(model, tensors)), **files}
