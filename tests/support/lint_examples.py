"""Writes the linter's examples to disk, and lints them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from modelyard_build.repository.lint.deployments import SUFFIXES, read_deployment
from modelyard_build.repository.lint.examples import Example
from modelyard_build.repository.lint.hardware import machine
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import Finding, lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository
from modelyard_build.repository.releases import DEFAULT_RELEASE, release
from support import lint_artefacts
from support.triton import IDENTITY

# The model of an example that the server is asked about.
MODEL = "m"


def write(example: Example, folder: Path) -> None:
    """Lays an example out; a recipe's first word is a name of `RECIPES`, the rest is its argument."""
    for file in example.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.recipe:
            name, _, argument = file.recipe.partition(" ")
            RECIPES[name](path, argument.strip())
        else:
            path.write_text(file.text, encoding="utf-8")


def findings(example: Example, folder: Path) -> list[Finding]:
    """What the linter says of an example that lies in a folder, held against what the example asks for."""
    settings = settings_of(example)
    files = [path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES]
    repositories = [Repository(folder / name, settings) for name in example.setting("repositories", ".").split()]
    return lint(repositories, [read_deployment(path, settings) for path in files], settings, RULES)


def settings_of(example: Example) -> Settings:
    """What an example is held against."""
    hardware, arguments = example.setting("hardware"), example.setting("server-arguments")
    return Settings(
        release=release(example.setting("release", DEFAULT_RELEASE)),
        machine=machine(hardware) if hardware else None,
        server_arguments=tuple(arguments.split()) if arguments else None,
    )


def _identity(path: Path, argument: str) -> None:
    path.write_text(IDENTITY)


def _folder(path: Path, argument: str) -> None:
    path.mkdir()


def _zeros(path: Path, argument: str) -> None:
    path.write_bytes(bytes(int(argument)))


def _link(path: Path, argument: str) -> None:
    path.symlink_to(argument)


def _onnx(path: Path, argument: str) -> None:
    """`x FP32 [-1,4], z INT64 [2] -> y FP32 [-1,4]; opset 17; ir 8`: each output copies the first input."""
    signature, *options = [part.strip() for part in argument.split(";")]
    chosen = dict(option.split() for option in options)
    inputs, outputs = ([_value(words) for words in _split(side)] for side in signature.split("->"))
    nodes = [helper.make_node("Cast", [inputs[0].name], [value.name], to=_element(value)) for value in outputs]
    graph = helper.make_graph(nodes, "example", inputs, outputs)
    opset = helper.make_opsetid("", int(chosen.get("opset", "17")))
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=int(chosen.get("ir", "8"))), path)


def _element(value: onnx.ValueInfoProto) -> int:
    return value.type.tensor_type.elem_type


def _split(side: str) -> list[list[str]]:
    return [words.split() for words in side.strip().removesuffix("]").split("],")]


def _value(words: list[str]) -> onnx.ValueInfoProto:
    name, dtype, *dims = words
    element = {"FP32": "FLOAT", "FP16": "FLOAT16", "FP64": "DOUBLE", "BF16": "BFLOAT16"}.get(dtype, dtype)
    sizes = "".join(dims).strip("[]")
    shape = [
        f"{name}_{index}" if size == "-1" else int(size) for index, size in enumerate(filter(None, sizes.split(",")))
    ]
    return helper.make_tensor_value_info(name, getattr(TensorProto, element), shape)


RECIPES: dict[str, Callable[[Path, str], None]] = {
    "identity": _identity,
    "folder": _folder,
    "zeros": _zeros,
    "link": _link,
    "onnx": _onnx,
    **lint_artefacts.RECIPES,
}
