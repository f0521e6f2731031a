"""A small repository in memory, and what was changed in it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from modelyard_build.repository.model_config import ModelConfig
from modelyard_build.repository.text_format.binding import Bound, bind
from modelyard_build.repository.text_format.syntax import parse

# A file's path in the repository, and its content; None: an empty folder.
Files = Mapping[str, bytes | None]


@dataclass(frozen=True, repr=False)
class Mutant:
    """A small repository.

    Attributes:
        base: what it was made of.
        files: all that stands in it.
        model: the one whose config or folder was changed.
        models: those that a server is asked to load, in this order.
        changes: what was done to it, in words.
    """

    base: str
    files: Files
    model: str
    models: tuple[str, ...]
    changes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.base}: {'; '.join(self.changes) or 'unchanged'}>"

    @property
    def config(self) -> bytes:
        """The changed model's config; empty where it has none."""
        return self.files.get(f"{self.model}/config.pbtxt") or b""

    @property
    def text(self) -> str:
        """The same as the linter reads it."""
        return self.config.decode("utf-8", "surrogateescape")

    @property
    def key(self) -> str:
        """The same for two that are the same to a server."""
        digest = hashlib.sha256(repr(self.models).encode())
        for path, content in sorted(self.files.items()):
            digest.update(f"\0{path}\0{content!r}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:20]

    def with_text(self, text: str, change: str) -> Mutant:
        """The same with another config."""
        config = text.encode("utf-8", "surrogateescape")
        return self.with_files({**self.files, f"{self.model}/config.pbtxt": config}, change)

    def with_files(self, files: Files, change: str) -> Mutant:
        """The same with other files."""
        return replace(self, files=files, changes=(*self.changes, change))

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it: the bytes as characters."""
        files = {name: None if content is None else content.decode("latin-1") for name, content in self.files.items()}
        return {**vars(self), "files": files}

    @staticmethod
    def of_json(fields: Mapping[str, Any]) -> Mutant:
        """The reverse."""
        files = {name: None if text is None else text.encode("latin-1") for name, text in fields["files"].items()}
        return Mutant(fields["base"], files, fields["model"], tuple(fields["models"]), tuple(fields["changes"]))

    def write(self, folder: Path) -> None:
        """Lays it out."""
        for name, content in self.files.items():
            path = folder / PurePosixPath(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(content)


def bound(text: str) -> Bound:
    """A config's message and its places, as far as they can be understood."""
    return bind(parse(text), ModelConfig())


def is_dangerous(text: str) -> bool:
    """Whether a server that believes the config would take the machine's memory, processes or hours.

    Those are real faults of a config, but a harness that runs thousands of them on two cores cannot let them happen.
    """
    message = bound(text).message
    return (
        any(group.count > 4 for group in message.instance_group)
        or len(message.instance_group) > 4
        or message.dynamic_batching.priority_levels > 1000
        or message.sequence_batching.oldest.max_candidate_sequences > 10_000
        or (message.HasField("sequence_batching") and message.max_batch_size > 10_000)
        or any(_elements(warmup) > 1 << 22 or warmup.count > 10 for warmup in message.model_warmup)
        or any(_elements_of(state.dims) > 1 << 22 for state in message.sequence_batching.state)
        or any("thread" in key.lower() and len(value.string_value) > 2 for key, value in message.parameters.items())
    )


def _elements(warmup: Any) -> int:
    batch_size: int = max(1, warmup.batch_size)
    return batch_size * sum(_elements_of(entry.dims) for entry in warmup.inputs.values())


def _elements_of(dims: Iterator[int]) -> int:
    return math.prod(abs(size) for size in dims)
