"""The Triton servers of a deployment file: which services and containers run one, and with which arguments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from modelyard_build.repository.lint.memo import remembered
from modelyard_build.repository.lint.rule import Raised
from modelyard_build.repository.lint.subjects import Deployment

TRITONSERVER = "tritonserver"
# Triton's own: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/
EXIT_TIMEOUT_S = 30
_DEFAULTED = re.compile(r"\$\{\w+:?-([^{}]*)\}")
# Where a pod's description stands in a document, by the names that lead there.
_PODS = (
    ("spec", "template", "spec"),
    ("spec", "jobTemplate", "spec", "template", "spec"),
    ("spec",),
)

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Server:
    """One service of Compose, or one container of Kubernetes, that runs tritonserver.

    Attributes:
        deployment: the file.
        document: the index of its document.
        path: where it stands in the document.
        stated: what is stated of it.
        pod: what is stated of its pod; None in Compose.
        pod_path: where that stands.
        arguments: of tritonserver; None: they are the image's.
        is_whole: whether what is not stated is not there, as in no patch or override of another file.
    """

    deployment: Deployment
    document: int
    path: Keys
    stated: Mapping[str, Any]
    pod: Mapping[str, Any] | None
    pod_path: Keys
    arguments: tuple[str, ...] | None
    is_whole: bool

    @property
    def name(self) -> str:
        """As messages call it."""
        return text(self.stated.get("name") if self.pod is not None else self.path[-1]) or "the container"

    @property
    def image(self) -> str:
        """The image with its tag; empty where none is stated."""
        return text(self.stated.get("image"))

    def raised(self, message: str, *keys: str | int) -> Raised:
        """A finding at a setting of it, or at itself where that is not stated."""
        return self._raised(message, (*self.path, *keys))

    def raised_of_pod(self, message: str, *keys: str | int) -> Raised:
        """A finding at a setting of its pod."""
        return self._raised(message, (*self.pod_path, *keys))

    def raised_at_argument(self, message: str, name: str) -> Raised:
        """A finding at the argument `--name`, or at the command where it stands in a longer text."""
        for key in ("command", "args", "entrypoint"):
            words = self.stated.get(key)
            for index, word in enumerate(words if isinstance(words, list) else ()):
                if text(word).partition("=")[0] == f"--{name}":
                    return self.raised(message, key, index)
        stated = next((key for key in ("args", "command", "entrypoint") if key in self.stated), "command")
        return self.raised(message, stated)

    def _raised(self, message: str, path: Keys) -> Raised:
        from modelyard_build.repository.lint.deployments import place

        start, end = place(self.deployment, self.document, path)
        return Raised(message, self.deployment.path, start, end)


@remembered
def servers(deployment: Deployment) -> list[Server]:
    """The Triton servers of a file."""
    return [
        server
        for index, document in enumerate(deployment.documents)
        for server in (*_of_compose(deployment, index, document), *_of_kubernetes(deployment, index, document, ()))
    ]


def _of_compose(deployment: Deployment, index: int, document: Mapping[str, Any]) -> Iterator[Server]:
    services = document.get("services")
    is_override = "override" in deployment.path.name
    for name, service in services.items() if isinstance(services, dict) and "kind" not in document else ():
        if not isinstance(service, dict):
            continue
        stated = _with_defaults(service, {})
        words = [*_words(stated.get("entrypoint")), *_words(stated.get("command"))]
        if _is_server(words, text(stated.get("image"))):
            is_whole = bool({"image", "build"} & stated.keys()) and "extends" not in stated and not is_override
            path = ("services", str(name))
            yield Server(deployment, index, path, stated, None, (), _arguments(words), is_whole)


def _of_kubernetes(deployment: Deployment, index: int, document: Any, above: Keys) -> Iterator[Server]:
    if not isinstance(document, dict) or "kind" not in document:
        return
    items = document.get("items")
    for number, item in enumerate(items if isinstance(items, list) else ()):
        yield from _of_kubernetes(deployment, index, item, (*above, "items", number))
    for path in _PODS:
        pod = _at(document, path)
        if isinstance(pod, dict) and isinstance(pod.get("containers"), list):
            spec = document.get("spec")
            is_whole = document["kind"] == "Pod" or (isinstance(spec, dict) and "selector" in spec)
            yield from _of_pod(deployment, index, (*above, *path), pod, is_whole)
            return


def _of_pod(deployment: Deployment, index: int, path: Keys, pod: Mapping[str, Any], is_whole: bool) -> Iterator[Server]:
    for number, container in enumerate(pod["containers"]):
        if not isinstance(container, dict):
            continue
        words = [*_words(container.get("command")), *_words(container.get("args"))]
        if _is_server(words, text(container.get("image"))):
            place = (*path, "containers", number)
            whole = is_whole and "image" in container
            yield Server(deployment, index, place, container, pod, path, _arguments(words), whole)


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _with_defaults(value: Any, made: dict[int, Any]) -> Any:
    """A service as Compose reads it with no variable set: `${NAME:-default}` is the default.

    Args:
        value: of the document.
        made: what is made already, by the identity of what it was made of: aliases share it, and may be circular.
    """
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, dict):
        mapping = made[id(value)] = {}
        mapping.update({str(key): _with_defaults(item, made) for key, item in value.items()})
        return mapping
    if isinstance(value, list):
        items = made[id(value)] = []
        items.extend(_with_defaults(item, made) for item in value)
        return items
    return _DEFAULTED.sub(r"\1", value) if isinstance(value, str) else value


def _words(command: Any) -> list[str]:
    """A command's words; a script that starts the server is taken apart, too."""
    if isinstance(command, str):
        return _split(command)
    words: list[str] = []
    for word in map(text, command if isinstance(command, list) else ()):
        words += _split(word) if re.search(rf"\b{TRITONSERVER}\s", word) else [word]
    return words


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text.replace("\\\n", " "))
    except ValueError:
        return text.split()


def _is_server(words: list[str], image: str) -> bool:
    if any(PurePosixPath(word).name == TRITONSERVER for word in words):
        return True
    name, tag = image_and_tag(image)
    is_image = name.rpartition("/")[2] == TRITONSERVER and "-sdk" not in tag
    return is_image and (not words or words[0].startswith("--"))


def _arguments(words: list[str]) -> tuple[str, ...] | None:
    """What stands behind the server's name; None where the image says it."""
    for index, word in enumerate(words):
        if PurePosixPath(word).name == TRITONSERVER:
            return tuple(words[index + 1 :])
    return tuple(words) if words else None


def text(value: Any) -> str:
    """A string, a number or a boolean as text; anything else is empty."""
    return str(value) if isinstance(value, str | int | float) else ""


def image_and_tag(image: str) -> tuple[str, str]:
    """An image's name without its digest, and its tag; empty where it has none."""
    name = image.partition("@")[0]
    tag = name.rpartition("/")[2].partition(":")[2]
    return name.removesuffix(f":{tag}"), tag
