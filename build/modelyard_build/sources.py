"""What a model is made from: the source files that its declaration reaches, and one hash over all that decides it.

Nothing is imported for it: the files are parsed, so that a build with nothing to do stays quick.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from modelyard_build.assets import Asset, sha256_of
from modelyard_build.model import AnyModel, Model, PythonModel
from modelyard_build.targets.target import Candidate

PACKAGE = "modelyard_build"
ROOT = Path(__file__).parent
# How to build, as against what is built: a change here does not make a published version another one.
_PLUMBING = {
    "model",
    "errors",
    "assets",
    "packages",
    "evaluations",
    "models",
    "repository",
    "steps",
    "progress",
    "quality",
    "rounding",
    "atomic",
    "targets.target",
    # What refuses and reports in words.
    "export_errors",
    "quiet_transformers",
    "export_guards",
    "onnx_file_checks",
    "module_checks",
    "weight_checks",
    "adoption.origin",
    "adoption.running",
    "fusion.patterns",
    "fusion.of_onnxruntime",
    "fusion.of_openvino",
}
# What the exporter writes; every other precision is made from it.
BASE_PRECISION = "fp32"
# What writes or shapes an artefact.
_WRITERS = ("torch", "onnx", "onnxscript", "onnx-ir", "transformers", "tokenizers")
# What converts a graph to another precision.
_CONVERTERS = ("onnx", "onnx-ir", "onnxruntime", "ml_dtypes")


def sources(model: AnyModel, declared_in: Path) -> dict[str, str]:
    """SHA-256 by path inside the package of every file that the model depends on.

    The declaring file counts whole, but its functions are followed one by one: a tokenizer is not rebuilt because the
    encoder that is declared beside it changed. A data file with a module's own name belongs to that module.

    Args:
        model: the declaration.
        declared_in: the file it stands in.
    """
    tree = ast.parse(declared_in.read_text())
    own = {function.__name__ for function in _callables(model) if function.__module__.endswith(f".{declared_in.stem}")}
    used = _with_callees(own, {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)})
    follow = [node for node in tree.body if not isinstance(node, ast.FunctionDef) or node.name in used]
    found: set[Path] = {declared_in}
    _follow(_imports(follow), found)
    if isinstance(model, Model):
        _follow(["given_graph" if model.graph else "export"], found)
    if isinstance(model, PythonModel):
        found.add(model.source)
    data = {beside for path in found for beside in path.parent.glob(f"{path.stem}.*") if beside.suffix != ".pyc"}
    return _hashes(found | data)


def _callables(model: AnyModel) -> Iterator[Callable[..., Any]]:
    for value in vars(model).values():
        if callable(value):
            yield value
    if model.evaluation:
        yield from (model.evaluation.data, model.evaluation.figures)


def _with_callees(names: set[str], functions: Mapping[str, ast.FunctionDef]) -> set[str]:
    """The functions of a module that the named ones reach, themselves included."""
    reached: set[str] = set()
    waiting = set(names) & functions.keys()
    while waiting:
        name = waiting.pop()
        reached.add(name)
        mentioned = {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
        waiting |= (mentioned & functions.keys()) - reached
    return reached


def _follow(modules: Iterable[str], found: set[Path]) -> None:
    for module in modules:
        path = _file(module)
        plumbing = bool({module.split(".")[0], module} & _PLUMBING) and not module.startswith("models.")
        if path is None or path in found or plumbing:
            continue
        found.add(path)
        _follow(_imports(ast.parse(path.read_text()).body), found)


def _imports(nodes: Iterable[ast.stmt]) -> list[str]:
    """The package's own modules that the statements import as they run, without the package's name."""
    found: list[str] = []
    for node in (inner for outer in nodes for inner in ast.walk(_Running().visit(outer))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            base = node.module.split(".")[1:]
            found += [".".join(base), *(".".join([*base, alias.name]) for alias in node.names)]
    return [name for name in found if name]


class _Running(ast.NodeTransformer):
    """Takes out what only a type checker reads: it decides nothing that is built."""

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return ast.Module(node.orelse, [])
        return self.generic_visit(node)


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def libraries(names: Iterable[str] = _WRITERS) -> dict[str, str]:
    """The versions of what writes an artefact, as installed; nothing is imported."""
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def pinned_assets(model: AnyModel) -> dict[str, Asset]:
    """The pinned files that a model is built and verified with, by name."""
    return {**model.assets, **(model.files if isinstance(model, PythonModel) else {})}


def asset_hashes(model: AnyModel) -> dict[str, str]:
    """SHA-256 of each pinned file, by name."""
    return {name: asset.sha256 for name, asset in sorted(pinned_assets(model).items())}


def build_key(model: AnyModel, files: Mapping[str, str], steps: Mapping[str, str]) -> str:
    """One hash over sources, assets, libraries and, for an ensemble, the keys of its steps."""
    writers = libraries() if isinstance(model, Model) else {}
    return _hash(model.name, dict(files), asset_hashes(model), writers, dict(steps))


def graph_key(model_key: str, precision: str) -> str:
    """One hash over all that decides a model's ONNX graph in a precision."""
    if precision == BASE_PRECISION:
        return model_key
    files: set[Path] = set()
    _follow(["precision", *(f"precision.{path.stem}" for path in ROOT.glob("precision/*.py"))], files)
    return _hash(model_key, precision, _hashes(files), libraries(_CONVERTERS))


def artefact_key(candidate: Candidate, distributions: Iterable[str], device: str, model_key: str) -> str:
    """One hash over all that decides the files of a candidate."""
    files: set[Path] = set()
    _follow([f"targets.{candidate.target}"], files)
    graph = graph_key(model_key, candidate.graph)
    return _hash(
        candidate.target,
        device,
        candidate.platform,
        candidate.filename,
        graph,
        _hashes(files),
        libraries(distributions),
    )


def candidate_key(candidate: Candidate, artefact: str) -> str:
    """One hash over a candidate's files and all that is declared of it: its class, its settings."""
    return _hash(artefact, asdict(candidate))


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    return {_known_as(path): sha256_of(path) for path in sorted(files)}


def _known_as(path: Path) -> str:
    """A source's path inside the package; of a step of people's own, which may lie anywhere, its name."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _hash(*decisive: Any) -> str:
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
