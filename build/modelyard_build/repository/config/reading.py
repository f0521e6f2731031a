"""What stands in a config.pbtxt: its text, its message, and where each of its fields stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard_build.errors import ConfigContradiction
from modelyard_build.repository.layout import BACKEND_OF_PLATFORM, CONFIGS, DEFAULT_FILENAMES, FILENAME
from modelyard_build.repository.lint.subjects import MAX_CONFIG_BYTES
from modelyard_build.repository.model_config import model_config_pb2
from modelyard_build.repository.text_format.binding import Bound, bind
from modelyard_build.repository.text_format.syntax import Document, parse

# Of what is wrong with a config, in one message.
_MOST_SHOWN = 5


# Backends of language models, which load weights by a name or engines of their own. TensorRT-LLM's newer form is a
# model.py of NVIDIA's for the Python backend: there the config's name tells.
_NOT_BUILT_HERE = ("vllm", "tensorrtllm")


def paths(folder: Path) -> list[Path]:
    """config.pbtxt and every configs/*.pbtxt of a model's folder that serves what a build makes, those that stand.

    One for a backend that loads something else under the model's name is neither held against the build nor edited.

    Raises:
        ConfigContradiction: one of configs/ cannot be read.
    """
    found = [folder / FILENAME] if (folder / FILENAME).exists() else []
    named = sorted((folder / CONFIGS).glob("*.pbtxt"))
    return [*found, *(path for path in named if _is_built_here(path))]


def _is_built_here(path: Path) -> bool:
    return path.stem not in _NOT_BUILT_HERE and backend_of(read(path)) not in _NOT_BUILT_HERE


def text_of(path: Path) -> str:
    """A config's text, every byte of it: line ends as they are, and what is not UTF-8 as lone surrogates.

    Raises:
        ConfigContradiction: the file cannot be read, or is larger than any config.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigContradiction(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigContradiction(f"{path} has more than {MAX_CONFIG_BYTES >> 20} MiB; no config has.")
    return decoded(content)


def decoded(content: bytes) -> str:
    """A config's bytes as text; what is not UTF-8 is lone surrogates."""
    return content.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """A text that was decoded, as it was."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Stated:
    """A config that was read.

    Attributes:
        path: the file.
        document: its text with places.
        bound: the message that it states.
    """

    path: Path
    document: Document
    bound: Bound

    def at(self, *path: str | int) -> str:
        """`file:line` of a field, or of what stands nearest around it; of the file's start where nothing of it does."""
        while path:
            if place := self.bound.places.get(path):
                start = place.value.start if isinstance(path[-1], int) else place.field.name_start
                return f"{self.path}:{self.document.position(start)[0]}"
            path = path[:-1]
        return f"{self.path}:1"


def stated_in(path: Path, text: str) -> Stated:
    """What a text states that stands, or will stand, in a file.

    Raises:
        ConfigContradiction: it is not a config; each reason with file, line and column.
    """
    document = parse(text)
    bound = bind(document, model_config_pb2.ModelConfig())
    if problems := [*bound.problems, *bound.lost]:
        shown = [
            f"{path}:{line}:{column}: {problem.message}{'' if problem.message.endswith('?') else '.'}"
            for problem in problems[:_MOST_SHOWN]
            for line, column in [document.position(problem.start)]
        ]
        more = [f"{len(problems) - _MOST_SHOWN} more."] if len(problems) > _MOST_SHOWN else []
        outcome = "Triton would refuse the model" if bound.problems else "Triton would lose what stands there"
        raise ConfigContradiction("\n".join([*shown, *more, f"{outcome}; mend it."]))
    return Stated(path, document, bound)


def read(path: Path) -> model_config_pb2.ModelConfig:
    """Parses a config.pbtxt.

    Raises:
        ConfigContradiction: it is not a valid ModelConfig; the message has file, line and column.
    """
    return stated_in(path, text_of(path)).bound.message


def says(path: Path, text: str) -> bool:
    """Whether a config has the settings of a text, whatever the comments of both.

    Raises:
        ConfigContradiction: the config cannot be read.
    """
    return bool(read(path) == stated_in(path, text).bound.message)


def filename(config: model_config_pb2.ModelConfig, compute_capability: str = "") -> str:
    """The artefact's file that a config serves, on a GPU of a compute capability where it names several."""
    backend = backend_of(config)
    default = "model.pt2" if config.platform == "torch_aoti" else DEFAULT_FILENAMES.get(backend, "")
    found: str = config.cc_model_filenames.get(compute_capability) or config.default_model_filename or default
    return found


def backend_of(config: model_config_pb2.ModelConfig) -> str:
    """The backend that serves a config, also where only a platform is stated."""
    found: str = config.backend or BACKEND_OF_PLATFORM.get(config.platform, config.platform)
    return found
