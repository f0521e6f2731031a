"""The house: what holds for the whole project."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_says_what_it_pins() -> None:
    """A test without a line that names its behaviour is found here."""
    silent = [
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_the_build_package_is_not_ignored() -> None:
    """Generic ignore lists hide folders called `build`; this one is source."""
    command = ["git", "check-ignore", "--quiet", "build/modelyard_build/model.py"]
    assert subprocess.run(command, check=False, cwd=ROOT).returncode == 1


def test_build_is_not_a_package() -> None:
    """`build/__init__.py` would shadow the packaging tool of that name."""
    assert not (ROOT / "build" / "__init__.py").exists()


def test_nothing_large_is_in_git() -> None:
    """No file above 1 MiB: weights and artefacts are fetched or built."""
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, cwd=ROOT, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    assert [path.name for path in paths if path.is_file() and path.stat().st_size > 1 << 20] == []


def test_the_command_starts_without_frameworks() -> None:
    """Help, list, lint and a client must not wait for torch, onnx or transformers."""
    code = (
        "import sys; from modelyard_ops import cli; cli.register_commands(); import modelyard_client; "
        "import modelyard_build.pipeline; "
        "sys.exit(str({'torch', 'onnx', 'onnxruntime', 'transformers', 'sklearn'} & sys.modules.keys()) "
        "if {'torch', 'onnx', 'onnxruntime', 'transformers', 'sklearn'} & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
