"""What the rules look at: repositories, models, configs, versions; each is read once, and only if asked.

Files may be missing, forbidden or vanish while they are read: a listing is then empty and a reading says why, and a
rule of `rules/layout` tells of it; the other rules see nothing there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from modelyard_build.repository.layout import BACKEND_OF_PLATFORM, CONFIGS, DEFAULT_FILENAMES, FILENAME
from modelyard_build.repository.lint.artefacts import Artefact, read_artefact
from modelyard_build.repository.lint.files import Entry, Listed, entry_of, file_bytes, listing
from modelyard_build.repository.lint.memo import remembered
from modelyard_build.repository.lint.rule import Raised
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.version_names import is_version, number_read
from modelyard_build.repository.model_config import ModelConfig
from modelyard_build.repository.text_format.binding import Bound, Place, bind
from modelyard_build.repository.text_format.binding import Path as FieldPath
from modelyard_build.repository.text_format.splice import Edit
from modelyard_build.repository.text_format.syntax import Document, parse

# Larger than any config that a person or a tool writes; Triton's parser would take minutes for more.
MAX_CONFIG_BYTES = 4 << 20
# Larger than what is looked into of the files beside a config: labels, manifests, samples of strings.
MAX_FILE_BYTES = 16 << 20
# By which Triton knows the backend of a model whose config names none.
_BACKEND_OF_FILE = {
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
    "model.plan": "tensorrt",
    "model.onnx": "onnxruntime",
    "model.xml": "openvino",
    "model.pt": "pytorch",
    "model.pt2": "pytorch",
    "model.py": "python",
}


@dataclass
class Repositories:
    """Those that one server is given together."""

    repositories: list[Repository]
    settings: Settings


@dataclass
class Repository(Listed):
    """A folder of models.

    Attributes:
        path: the folder.
        settings: what it is held against.
        proposed: texts of configs that are not written yet, by path; they stand for what is on disk.
        beside: the other repositories of the same server.
    """

    path: Path
    settings: Settings
    proposed: Mapping[Path, str] = field(default_factory=dict)
    beside: Sequence[Repository] = field(default=(), repr=False, compare=False)

    def _folder(self) -> Path:
        return self.path

    @cached_property
    def models(self) -> dict[str, Model]:
        """Every folder that Triton takes for a model, by name."""
        return {entry.name: Model(self, self.path / entry.name) for entry in self.entries.values() if entry.is_folder}


@dataclass
class Model(Listed):
    """A model's folder."""

    repository: Repository
    folder: Path

    def _folder(self) -> Path:
        return self.folder

    @property
    def name(self) -> str:
        """The folder's name, which is the model's."""
        return self.folder.name

    @property
    def settings(self) -> Settings:
        """What it is held against."""
        return self.repository.settings

    @cached_property
    def config(self) -> Config | None:
        """config.pbtxt; None where none stands."""
        return Config(self, self.folder / FILENAME) if FILENAME in self.entries else None

    @cached_property
    def configs(self) -> list[Config]:
        """config.pbtxt and each configs/*.pbtxt, those that stand."""
        own = [self.config] if self.config else []
        named = [name for name in self.named_configs if name.endswith(".pbtxt")]
        return own + [Config(self, self.folder / CONFIGS / name) for name in named]

    @cached_property
    def named_configs(self) -> dict[str, Entry]:
        """What stands in configs/."""
        return listing(self.folder / CONFIGS)[0] if CONFIGS in self.entries else {}

    @cached_property
    def versions(self) -> dict[int, Version]:
        """The folders that Triton serves as versions, by number, in its order: ascending."""
        numbers = sorted(
            int(entry.name) for entry in self.entries.values() if entry.is_folder and is_version(entry.name)
        )
        return {number: Version(self, number) for number in numbers}

    @cached_property
    def misread(self) -> dict[int, str]:
        """Folders such as "2.bak", by the number that Triton takes them for: it then misses the folder "2"."""
        read = {entry.name: number_read(entry.name) for entry in self.entries.values() if entry.is_folder}
        return {number: name for name, number in read.items() if number is not None and number not in self.versions}

    @cached_property
    def backend_of_files(self) -> str:
        """The backend that Triton takes for a model whose config names none; empty: it cannot tell.

        It looks into one folder alone, the first by name, whether that is a version or not.
        """
        folders = sorted(os.fsencode(entry.name) for entry in self.entries.values() if entry.is_folder)
        stand = listing(self.folder / os.fsdecode(folders[0]))[0] if folders else {}
        return next((backend for name, backend in _BACKEND_OF_FILE.items() if name in stand), "")

    @remembered
    def file(self, relative: str) -> Entry:
        """What a path inside the folder leads to; neither a folder nor a file where nothing does."""
        try:
            return entry_of(relative, os.stat(self._inside(relative)))  # noqa: PTH116
        except (OSError, ValueError):
            return Entry(relative, is_folder=False, is_file=False, size=0)

    @remembered
    def content(self, relative: str) -> bytes | None:
        """A file inside the folder; None where it cannot be read, or is larger than what is looked into."""
        try:
            read = file_bytes(Path(self._inside(relative)), MAX_FILE_BYTES + 1)
        except (OSError, ValueError):
            return None
        return read if len(read) <= MAX_FILE_BYTES else None

    def _inside(self, relative: str) -> str:
        """As Triton joins paths: a leading slash does not start at the root."""
        return os.path.join(self.folder, relative.lstrip("/"))  # noqa: PTH118 (Path takes "." out)

    def raised(self, message: str, *relative: str) -> Raised:
        """A finding about a file or folder of the model, as a whole."""
        return Raised(message, self.folder.joinpath(*relative))


@dataclass
class Version(Listed):
    """A version's folder."""

    model: Model
    number: int

    @cached_property
    def folder(self) -> Path:
        """Where it stands."""
        return self.model.folder / str(self.number)

    def _folder(self) -> Path:
        return self.folder

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """`modelyard build`'s record; empty where there is none, or none that can be read."""
        try:
            read = json.loads(file_bytes(self.folder / "manifest.json", MAX_FILE_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return read if isinstance(read, dict) else {}

    @remembered
    def artefact(self, backend: str, filename: str) -> Artefact:
        """What is known of an artefact without loading it; `Artefact.problem` says why nothing is."""
        return read_artefact(self.folder / filename, backend, self.manifest)


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
            content = file_bytes(self.path, MAX_CONFIG_BYTES + 1)
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

    @cached_property
    def message(self) -> Any:
        """Triton's ModelConfig as far as it could be understood."""
        return self.bound.message

    @cached_property
    def is_valid(self) -> bool:
        """Whether Triton can parse it; rules about its content look at valid ones only."""
        return not self.unreadable and not self.bound.problems

    @cached_property
    def backend(self) -> str:
        """The backend that serves it, also where only a platform is stated; "ensemble" for one; may be empty."""
        message = self.message
        if message.backend or message.platform:
            return str(message.backend or BACKEND_OF_PLATFORM.get(message.platform, message.platform))
        if message.default_model_filename:
            return _BACKEND_OF_FILE.get(message.default_model_filename, "")
        return self.model.backend_of_files

    @cached_property
    def is_ensemble(self) -> bool:
        """Whether it is one."""
        return bool(self.message.platform == "ensemble")

    @cached_property
    def filename(self) -> str:
        """The artefact's file, on a machine without GPU; empty where the backend has no default that we know."""
        default = "model.pt2" if self.message.platform == "torch_aoti" else DEFAULT_FILENAMES.get(self.backend, "")
        return str(self.message.default_model_filename or default)

    @cached_property
    def selected(self) -> list[int]:
        """The versions that the policy selects, of those that Triton sees; ascending."""
        policy = self.message.version_policy
        seen = sorted({*self.model.versions, *self.model.misread})
        kind = policy.WhichOneof("policy_choice")
        if kind == "all":
            return seen
        if kind == "specific":
            named = set(policy.specific.versions)
            return [number for number in seen if number in named]
        count = policy.latest.num_versions if kind == "latest" else 1
        return seen[-count:] if count else []

    @cached_property
    def served(self) -> list[Version]:
        """The versions that the policy selects, of those that stand; ascending."""
        return [self.model.versions[number] for number in self.selected if number in self.model.versions]

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
