"""What the rules look at: repositories, models, configs, versions; each is read once, and only if asked.

Files may be missing, forbidden or vanish while they are read: a listing is then empty and a reading says why, and a
rule of `rules/layout` tells of it; the other rules see nothing there.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from modelyard_build.repository.layout import BACKEND_OF_PLATFORM, CONFIGS, DEFAULT_FILENAMES, FILENAME
from modelyard_build.repository.lint.artefacts import Artefact, read_artefact
from modelyard_build.repository.lint.rule import Raised
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.model_config import ModelConfig
from modelyard_build.repository.text_format.binding import Bound, Place, bind
from modelyard_build.repository.text_format.binding import Path as FieldPath
from modelyard_build.repository.text_format.splice import Edit
from modelyard_build.repository.text_format.syntax import Document, parse

# Larger than any config that a person or a tool writes; Triton's parser would take minutes for more.
MAX_CONFIG_BYTES = 4 << 20


@dataclass(frozen=True)
class Entry:
    """What stands in a folder, links followed.

    Attributes:
        name: without the folder.
        is_folder: whether it is one; a dangling or circular link is neither a folder nor a file.
        is_file: whether it is a regular file.
        size: in bytes, of a file.
    """

    name: str
    is_folder: bool
    is_file: bool
    size: int


@functools.cache
def _nothing() -> dict[str, Entry]:
    return {}


def listing(folder: Path) -> tuple[dict[str, Entry], OSError | None]:
    """What stands in a folder by name, sorted, and why it could not be read."""
    try:
        with os.scandir(folder) as found:
            entries = [_entry(item) for item in found]
    except OSError as error:
        return _nothing(), error
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}, None


def _entry(item: os.DirEntry[str]) -> Entry:
    try:
        is_folder = item.is_dir()
        is_file = not is_folder and item.is_file()
        return Entry(item.name, is_folder, is_file, item.stat().st_size if is_file else 0)
    except OSError:
        return Entry(item.name, is_folder=False, is_file=False, size=0)


@dataclass
class Repositories:
    """Those that one server is given together."""

    repositories: list[Repository]
    settings: Settings


@dataclass
class Repository:
    """A folder of models.

    Attributes:
        path: the folder.
        settings: what it is held against.
        proposed: texts of configs that are not written yet, by path; they stand for what is on disk.
    """

    path: Path
    settings: Settings
    proposed: Mapping[Path, str] = field(default_factory=dict)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """What stands in it."""
        return listing(self.path)[0]

    @cached_property
    def models(self) -> dict[str, Model]:
        """Every folder that Triton takes for a model, by name."""
        return {entry.name: Model(self, self.path / entry.name) for entry in self.entries.values() if entry.is_folder}


@dataclass
class Model:
    """A model's folder."""

    repository: Repository
    folder: Path

    @property
    def name(self) -> str:
        """The folder's name, which is the model's."""
        return self.folder.name

    @property
    def settings(self) -> Settings:
        """What it is held against."""
        return self.repository.settings

    @cached_property
    def _listing(self) -> tuple[dict[str, Entry], OSError | None]:
        return listing(self.folder)

    @property
    def entries(self) -> dict[str, Entry]:
        """What stands in the folder."""
        return self._listing[0]

    @property
    def unreadable(self) -> OSError | None:
        """Why the folder could not be listed."""
        return self._listing[1]

    @cached_property
    def config(self) -> Config | None:
        """config.pbtxt; None where none stands."""
        return Config(self, self.folder / FILENAME) if FILENAME in self.entries else None

    @cached_property
    def configs(self) -> list[Config]:
        """config.pbtxt and each configs/*.pbtxt, those that stand."""
        own = [self.config] if self.config else []
        if CONFIGS not in self.entries:
            return own
        named = [name for name in listing(self.folder / CONFIGS)[0] if name.endswith(".pbtxt")]
        return own + [Config(self, self.folder / CONFIGS / name) for name in named]

    @cached_property
    def versions(self) -> dict[int, Version]:
        """The folders that Triton takes for versions, by number, in its order: ascending."""
        numbers = sorted(
            int(entry.name) for entry in self.entries.values() if entry.is_folder and is_version(entry.name)
        )
        return {number: Version(self, number) for number in numbers}

    def raised(self, message: str, *relative: str) -> Raised:
        """A finding about a file or folder of the model, as a whole."""
        return Raised(message, self.folder.joinpath(*relative))


def is_version(name: str) -> bool:
    """Whether Triton takes a folder of this name for a version: a number above 0 without a leading 0."""
    return name.isascii() and name.isdigit() and not name.startswith("0") and int(name) < 1 << 63


@dataclass
class Version:
    """A version's folder."""

    model: Model
    number: int

    @property
    def folder(self) -> Path:
        """Where it stands."""
        return self.model.folder / str(self.number)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """What stands in it."""
        return listing(self.folder)[0]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """`modelyard build`'s record; empty where there is none, or none that can be read."""
        try:
            read = json.loads((self.folder / "manifest.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return read if isinstance(read, dict) else {}

    def artefact(self, backend: str, filename: str) -> Artefact:
        """What is known of an artefact without loading it; `Artefact.problem` says why nothing is."""
        return _artefact(self.folder / filename, backend, self)


def _artefact(path: Path, backend: str, version: Version) -> Artefact:
    cache = version.__dict__.setdefault("_artefacts", {})
    key = (backend, path.name)
    if key not in cache:
        cache[key] = read_artefact(path, backend, version.manifest)
    found: Artefact = cache[key]
    return found


@dataclass
class Config:
    """A config.pbtxt or a configs/NAME.pbtxt."""

    model: Model
    path: Path

    @property
    def settings(self) -> Settings:
        """What it is held against."""
        return self.model.settings

    @cached_property
    def _read(self) -> tuple[str, str]:
        """The text, and why there is none."""
        proposed = self.model.repository.proposed
        if self.path in proposed:
            return proposed[self.path], ""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_CONFIG_BYTES + 1)
        except OSError as error:
            return "", f"cannot be read: {error.strerror}"
        if len(content) > MAX_CONFIG_BYTES:
            return "", f"has more than {MAX_CONFIG_BYTES >> 20} MiB; no config has. Is it another file?"
        return content.decode("utf-8", "surrogateescape"), ""

    @property
    def unreadable(self) -> str:
        """Why there is no text; empty: there is."""
        return self._read[1]

    @property
    def text(self) -> str:
        """The text; bytes that are not UTF-8 are lone surrogates."""
        return self._read[0]

    @cached_property
    def document(self) -> Document:
        """The text with its places."""
        return parse(self.text)

    @cached_property
    def bound(self) -> Bound:
        """The message, its places, and what Triton's parser would refuse."""
        return bind(self.document, ModelConfig())

    @property
    def message(self) -> Any:
        """Triton's ModelConfig as far as it could be understood."""
        return self.bound.message

    @property
    def is_valid(self) -> bool:
        """Whether Triton can parse it; rules about its content look at valid ones only."""
        return not self.unreadable and not self.bound.problems

    @property
    def backend(self) -> str:
        """The backend that serves it, also where only a platform is stated; "ensemble" for one; may be empty."""
        message = self.message
        return str(message.backend or BACKEND_OF_PLATFORM.get(message.platform, message.platform))

    @property
    def is_ensemble(self) -> bool:
        """Whether it is one."""
        return bool(self.message.platform == "ensemble")

    @property
    def filename(self) -> str:
        """The artefact's file, on a machine without GPU; empty where the backend has no default that we know."""
        default = "model.pt2" if self.message.platform == "torch_aoti" else DEFAULT_FILENAMES.get(self.backend, "")
        return str(self.message.default_model_filename or default)

    @cached_property
    def served(self) -> list[Version]:
        """The versions that the policy selects, of those that stand; ascending."""
        policy = self.message.version_policy
        versions = self.model.versions
        kind = policy.WhichOneof("policy_choice")
        if kind == "all":
            return list(versions.values())
        if kind == "specific":
            return [versions[number] for number in sorted(set(policy.specific.versions)) if number in versions]
        return list(versions.values())[-(policy.latest.num_versions or 1) :]

    @cached_property
    def artefacts(self) -> list[tuple[Version, Artefact]]:
        """What each served version's file is, of those that could be read."""
        found = [(version, version.artefact(self.backend, self.filename)) for version in self.served if self.filename]
        return [(version, artefact) for version, artefact in found if not artefact.problem]

    def place(self, *path: str | int) -> Place | None:
        """Where a field stands, or what is nearest around it; None where nothing of it is stated."""
        wanted: FieldPath = path
        while wanted:
            if found := self.bound.places.get(wanted):
                return found
            wanted = wanted[:-1]
        return None

    def states(self, *path: str | int) -> bool:
        """Whether the text states a field."""
        return path in self.bound.places

    def raised(self, message: str, *path: str | int, fix: tuple[Edit, ...] = ()) -> Raised:
        """A finding at a field: `("input", 0, "dims")`, `("parameters", "KEY")`. Without one, about the whole file."""
        place = self.place(*path)
        if place is None:
            return Raised(message, self.path, fix=fix)
        element = path in self.bound.places and bool(path) and isinstance(path[-1], int)
        start = place.value.start if element else place.field.name_start
        return Raised(message, self.path, start, place.value.end, fix)


@dataclass
class Deployment:
    """A file that says how servers are started and watched: Docker Compose or Kubernetes.

    Attributes:
        path: the file.
        documents: its YAML documents, those that are mappings.
        text: all of it.
    """

    path: Path
    documents: list[dict[str, Any]]
    text: str
    settings: Settings

    def raised(self, message: str, *words: str) -> Raised:
        """A finding at the first line that has all the words; about the whole file where none has."""
        at = 0
        for line in self.text.splitlines(keepends=True):
            if words and all(word in line.split("#")[0] for word in words):
                stripped = line.strip()
                start = at + line.index(stripped)
                return Raised(message, self.path, start, start + len(stripped))
            at += len(line)
        return Raised(message, self.path)


def subjects(repositories: list[Repository], settings: Settings) -> Iterator[object]:
    """Everything that rules look at, except deployments."""
    yield Repositories(repositories, settings)
    for repository in repositories:
        yield repository
        for model in repository.models.values():
            yield model
            yield from model.configs
