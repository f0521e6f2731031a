"""Reads the files that say how servers are started: Docker Compose and Kubernetes YAML.

PyYAML is imported only where such a file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from modelyard_build.errors import BuildError
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Deployment

SUFFIXES = (".yml", ".yaml")
# Larger than any that a person writes.
MAX_BYTES = 1 << 20
# Deeper than any; PyYAML builds what it reads by recursion in C, which a hostile file would exhaust.
MAX_DEPTH = 64
# Entries of one mapping once `<<` is followed: merges of merges multiply ("billion laughs").
MAX_ENTRIES = 10_000


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
    try:
        _check_depth(text)
        documents: list[Any] = list(yaml.load_all(text, Loader=_loader()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise BuildError(f"{path}{place}: this is no YAML: {error.problem or error.context}. Mend the line.") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise BuildError(f"{path}: this is no YAML: {str(error) or type(error).__name__}.") from None
    return Deployment(path, [document for document in documents if isinstance(document, dict)], text, settings)


def place(deployment: Deployment, document: int, path: tuple[str | int, ...]) -> tuple[int, int]:
    """Where a value stands: its key and what follows on the line; what is nearest around it where it is not stated.

    Args:
        deployment: the file.
        document: the index in `Deployment.documents`.
        path: keys of mappings and indices of sequences; merged keys (`<<`) are found where they are written.

    Returns:
        The start and the end in the text, in characters; both 0 where nothing of it is stated.
    """
    import yaml

    nodes = [node for node in yaml.compose_all(deployment.text, Loader=_loader()) if isinstance(node, yaml.MappingNode)]
    node: Any = nodes[document]
    start = None
    for key in path:
        key_node, node = _child(node, key)
        if key_node is None:
            break
        start = key_node.start_mark.index
    if start is None:
        return 0, 0
    end = deployment.text.find("\n", start)
    line = deployment.text[start : len(deployment.text) if end < 0 else end]
    return start, start + len(line.split(" #")[0].rstrip())


def _child(node: Any, key: str | int) -> tuple[Any, Any]:
    """The node that stands for a key, and the one of its value; None and the node itself where there is none."""
    import yaml

    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key]
    # What is merged may merge others, and even itself.
    waiting, seen = [node], set()
    while waiting:
        mapping = waiting.pop(0)
        if not isinstance(mapping, yaml.MappingNode) or id(mapping) in seen:
            continue
        seen.add(id(mapping))
        for name, value in mapping.value:
            if isinstance(name, yaml.ScalarNode) and name.value == str(key):
                return name, value
            if isinstance(name, yaml.ScalarNode) and name.value == "<<":
                waiting += value.value if isinstance(value, yaml.SequenceNode) else [value]
    return None, node


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
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuildError(f"{path} is not UTF-8 at its byte {error.start}. Save it as UTF-8.") from None


def _check_depth(text: str) -> None:
    """Reads the events alone, which takes no recursion.

    Raises:
        yaml.YAMLError: the text is no YAML.
        ValueError: it is nested too deep.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"values are nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


@cache
def _loader() -> Any:
    """PyYAML's safe loader, which raises nothing at a tag that it does not know, and takes no merges without end."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """Takes what stands behind an unknown tag as if it had none."""

        def flatten_mapping(self, node: Any) -> None:
            """Follows `<<`."""
            super().flatten_mapping(node)
            if len(node.value) > MAX_ENTRIES:
                raise ValueError(f"a mapping has more than {MAX_ENTRIES} entries once its merges are followed")

    def untagged(loader: Any, suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("!", untagged)
    return Loader
