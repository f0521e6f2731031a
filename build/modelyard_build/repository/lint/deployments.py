"""Reads the files that say how servers are started: Docker Compose and Kubernetes YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard_build.errors import BuildError
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Deployment

SUFFIXES = (".yml", ".yaml")
# Larger than any that a person writes.
MAX_BYTES = 4 << 20


def read_deployment(path: Path, settings: Settings, proposed: Mapping[Path, str] | None = None) -> Deployment:
    """A deployment file, its tags of Compose (`!reset`) and others taken for plain values.

    Args:
        path: the file.
        settings: what it is held against.
        proposed: texts that are not written yet, by path; they stand for what is on disk.

    Raises:
        BuildError: it cannot be read, or is no YAML.
    """
    import yaml

    text = proposed[path] if proposed and path in proposed else _text(path)
    loader = _loader()
    try:
        documents: list[Any] = list(yaml.load_all(text, Loader=loader))  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise BuildError(f"{path}{place}: this is no YAML: {error.problem or error.context}. Mend the line.") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise BuildError(f"{path}: this is no YAML: {str(error) or type(error).__name__}.") from None
    return Deployment(path, [document for document in documents if isinstance(document, dict)], text, settings)


def _text(path: Path) -> str:
    """What stands in the file.

    Raises:
        BuildError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BuildError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise BuildError(f"{path} has more than {MAX_BYTES >> 20} MiB; no deployment file has. Is it another file?")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BuildError(f"{path} is not UTF-8 at its byte {error.start}. Save it as UTF-8.") from None


def _loader() -> Any:
    """PyYAML's safe loader, which raises nothing at a tag that it does not know."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes what stands behind an unknown tag as if it had none."""

    def untagged(loader: Any, suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("!", untagged)
    return Loader
