"""Code that serves infers, and does nothing else: every backend, and every step that a version publishes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard_build import steps
from modelyard_server.launch import BACKENDS

PUBLISHED = sorted(path for path in Path(steps.__path__[0]).rglob("*.py") if path.name != "__init__.py")
# The others are parts that lie beside a model.py.
STEPS = [path for path in PUBLISHED if "class TritonPythonModel" in path.read_text()]
SERVING = [
    *PUBLISHED,
    *sorted(path for folder in ("backends", "backend_support") for path in (BACKENDS.parent / folder).rglob("*.py")),
]
TRAINING = ("torch.optim", "torch.utils.data", "torch.autograd", "torch.distributed", "lightning", "accelerate")
# What only training calls; `train()` would switch dropout on.
CALLS = {"backward", "zero_grad", "requires_grad_", "train", "enable_grad", "set_grad_enabled"}
# What reads a model off the disk, or makes one.
LOADS = {"load", "from_file", "from_pretrained", "import_module", "read_text", "read_bytes", "open", "InferenceSession"}
# Where a module of PyTorch is held, and what of it computes.
MODULES = {"module", "_module", "_loader"}


def tree_of(path: Path) -> ast.Module:
    """A file, parsed."""
    return ast.parse(path.read_text())


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """Every call in it."""
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def name_of(call: ast.Call) -> str:
    """What is called, without what it belongs to."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_there_is_serving_code_to_look_at() -> None:
    """A folder that moves must not make these tests empty."""
    assert {"tokenizer.py", "pytorch_module.py"} <= {path.name for path in STEPS}
    assert {"onnxruntime", "openvino", "pytorch", "tensorrt"} <= {path.parent.name for path in SERVING}


@pytest.mark.parametrize("path", SERVING, ids=lambda path: path.stem)
def test_no_path_trains(path: Path) -> None:
    """No optimiser, no gradients, no training mode."""
    tree = tree_of(path)
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [name for name in imported if name.startswith(TRAINING)] == []
    assert sorted({name_of(call) for call in calls(tree)} & CALLS) == []


def runs_of(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that run a module of PyTorch, or the library that was made of one."""
    for call in calls(tree):
        target = call.func.value if isinstance(call.func, ast.Attribute) and call.func.attr == "run" else call.func
        if isinstance(target, ast.Attribute) and target.attr in MODULES:
            yield call


def guarded(tree: ast.AST) -> set[ast.Call]:
    """The calls inside of `with torch.inference_mode(…)`, and those of methods that are called nowhere else."""
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("inference_mode" in ast.unparse(item) for item in node.items)
    ]
    inside = {call for block in blocks for call in calls(block)}
    called_inside, called = {name_of(call) for call in inside}, [call for call in calls(tree) if call not in inside]
    only_inside = called_inside - {name_of(call) for call in called}
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in only_inside]
    return inside | {call for method in methods for call in calls(method)}


def test_pytorch_runs_under_inference_mode_alone() -> None:
    """Every call of a module stands in such a block; there are three files that call one."""
    found = {path.name: list(runs_of(tree)) for path, tree in ((path, tree_of(path)) for path in SERVING)}
    assert {name for name, runs in found.items() if runs} == {"torchscript.py", "archive.py", "pytorch_module.py"}
    for path in SERVING:
        tree = tree_of(path)
        inside = {ast.unparse(call) for call in guarded(tree)}
        assert [ast.unparse(run) for run in runs_of(tree) if ast.unparse(run) not in inside] == []


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_a_step_loads_once(path: Path) -> None:
    """What reads a model is called from `initialize`, and by nothing that `execute` reaches."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = {node.name: node for node in ast.walk(tree_of(path)) if isinstance(node, definitions)}
    reached, waiting = set(), {"execute"}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= ({name_of(call) for call in calls(functions[name])} & functions.keys()) - reached
    assert "initialize" in functions
    assert [ast.unparse(call) for name in reached for call in calls(functions[name]) if name_of(call) in LOADS] == []


def imports_torch(path: Path) -> bool:
    """Whether a step could answer with anything but numpy's arrays."""
    return any(isinstance(node, ast.Import) and node.names[0].name == "torch" for node in ast.walk(tree_of(path)))


@pytest.mark.parametrize("path", [path for path in STEPS if imports_torch(path)], ids=lambda path: path.stem)
def test_a_step_with_pytorch_answers_in_numpy(path: Path) -> None:
    """What goes to Triton is an array, never a framework's own type; bfloat16, which numpy lacks, goes by DLPack."""
    answers = [
        call.args[1]
        for call in calls(tree_of(path))
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "pb_utils.Tensor"
    ]
    assert answers
    local = {node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef) and _gives_array(node)}
    for answer in answers:
        made = ast.unparse(answer)
        assert (
            made.startswith("np.")
            or made.endswith(".numpy()")
            or (isinstance(answer, ast.Call) and name_of(answer) in local)
        ), made


def _gives_array(function: ast.FunctionDef) -> bool:
    return function.returns is not None and "NDArray" in ast.unparse(function.returns)
